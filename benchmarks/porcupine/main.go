// Judges a history of ours with Porcupine, for comparison: reads JSON Lines, prints one JSON object.
//
// Usage: porcupine-check FILE MODEL TIMEOUT_SECONDS, where MODEL is cas-register or string-map.
// benchmarks/checker.py builds it against Porcupine's source, which is not part of this project.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

type line struct {
	Process  json.Number     `json:"process"`
	Type     string          `json:"type"`
	F        string          `json:"f"`
	Key      json.RawMessage `json:"key"`
	Value    json.RawMessage `json:"value"`
	Error    string          `json:"error"`
	Observed json.RawMessage `json:"observed"`
}

// An operation's argument or answer; values are kept as numbers of their texts.
type input struct {
	key, f   string
	arg, new int
	text     string
}

type output struct {
	kind  string // ok, mismatch, unknown
	value int
	seen  bool
	text  string
}

var numbers = map[string]int{"null": 0}

func number(raw json.RawMessage) int {
	text := string(raw)
	if text == "" {
		text = "null"
	}
	id, known := numbers[text]
	if !known {
		id = len(numbers)
		numbers[text] = id
	}
	return id
}

func text(raw json.RawMessage) string {
	var found string
	_ = json.Unmarshal(raw, &found) // null is the empty text
	return found
}

func parsed(in line) input {
	op := input{key: string(in.Key), f: in.F}
	if in.F == "cas" {
		var pair []json.RawMessage
		if err := json.Unmarshal(in.Value, &pair); err != nil || len(pair) != 2 {
			panic("a cas without its pair of values")
		}
		op.arg, op.new = number(pair[0]), number(pair[1])
		return op
	}
	op.arg, op.text = number(in.Value), text(in.Value)
	return op
}

// What a completion says; false for an operation that did not happen.
func answered(in line) (output, bool) {
	if in.Type == "ok" {
		return output{kind: "ok", value: number(in.Value), seen: true, text: text(in.Value)}, true
	}
	if in.F == "cas" && in.Error == "mismatch" {
		return output{kind: "mismatch", value: number(in.Observed), seen: in.Observed != nil}, true
	}
	return output{}, false
}

func read(path string) []porcupine.Event {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	var events []porcupine.Event
	open := map[string]int{} // process to the position of its call
	var unknown []int
	dropped := map[int]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<26)
	for lines.Scan() {
		var in line
		if err := json.Unmarshal(lines.Bytes(), &in); err != nil {
			panic(err)
		}
		process := string(in.Process)
		client, _ := strconv.Atoi(process)
		if in.Type == "invoke" {
			at := len(events)
			open[process] = at
			call := porcupine.Event{ClientId: client, Kind: porcupine.CallEvent, Value: parsed(in), Id: at}
			events = append(events, call)
			continue
		}
		at := open[process]
		delete(open, process)
		if in.Type == "info" {
			unknown = append(unknown, at)
			continue
		}
		said, happened := answered(in)
		if !happened {
			dropped[at] = true
			continue
		}
		events = append(events, porcupine.Event{ClientId: client, Kind: porcupine.ReturnEvent, Value: said, Id: at})
	}
	for _, at := range open {
		unknown = append(unknown, at)
	}
	for _, at := range unknown {
		call := events[at].Value.(input)
		if call.f == "read" || call.f == "get" {
			dropped[at] = true
			continue
		}
		end := porcupine.Event{Kind: porcupine.ReturnEvent, Value: output{kind: "unknown"}, Id: at}
		events = append(events, end)
	}
	kept := events[:0]
	for _, event := range events {
		if !dropped[event.Id] {
			kept = append(kept, event)
		}
	}
	return kept
}

func byKey(events []porcupine.Event) [][]porcupine.Event {
	place, keyOf := map[string]int{}, map[int]string{}
	var parts [][]porcupine.Event
	for _, event := range events {
		if event.Kind == porcupine.CallEvent {
			keyOf[event.Id] = event.Value.(input).key
		}
		key := keyOf[event.Id]
		at, known := place[key]
		if !known {
			at = len(parts)
			place[key] = at
			parts = append(parts, nil)
		}
		parts[at] = append(parts[at], event)
	}
	return parts
}

func register(state, in, out interface{}) (bool, interface{}) {
	now, op, said := state.(int), in.(input), out.(output)
	switch op.f {
	case "read":
		return said.value == now, now
	case "write":
		return true, op.arg
	}
	if said.kind == "mismatch" {
		return op.arg != now && (!said.seen || said.value == now), now
	}
	if op.arg == now {
		return true, op.new
	}
	return said.kind == "unknown", now
}

func texts(state, in, out interface{}) (bool, interface{}) {
	now, op, said := state.(string), in.(input), out.(output)
	switch op.f {
	case "get", "read":
		return said.text == now, now
	case "append":
		return true, now + op.text
	}
	return true, op.text
}

func textHash(state interface{}) uint64 {
	hash := fnv.New64a()
	hash.Write([]byte(state.(string)))
	return hash.Sum64()
}

func cpu() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Sec+usage.Stime.Sec) + float64(usage.Utime.Usec+usage.Stime.Usec)/1e6
}

func main() {
	seconds, _ := strconv.ParseFloat(os.Args[3], 64)
	model := porcupine.Model{PartitionEvent: byKey, Step: register}
	model.Init = func() interface{} { return 0 }
	model.Hash = func(state interface{}) uint64 { return uint64(state.(int)) }
	if os.Args[2] == "string-map" {
		model.Init, model.Step, model.Hash = func() interface{} { return "" }, texts, textHash
	}
	start := time.Now()
	events := read(os.Args[1])
	loaded, before := time.Now(), cpu()
	result := porcupine.CheckEventsTimeout(model, events, time.Duration(seconds*float64(time.Second)))
	names := map[porcupine.CheckResult]string{porcupine.Ok: "valid", porcupine.Illegal: "invalid", porcupine.Unknown: "unknown"}
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	fmt.Printf("{\"verdict\":%q,\"read\":%.4f,\"check\":%.4f,\"cpu\":%.4f,\"peak_mb\":%.0f}\n", names[result],
		loaded.Sub(start).Seconds(), time.Since(loaded).Seconds(), cpu()-before, float64(usage.Maxrss)/1024)
}
