//! The interface to Python: conversions only.

use crate::edn::{self, Reading};
use crate::files::{Broken, LOOK, read_native};
use crate::history::{Bad, Event, F, History, Kind as Type, NEMESIS, Raw, Rules};
use crate::json::DEPTH;
use crate::judge::{Job, Judged, judge, judge_all};
use crate::memory::{self, Limits, Stop};
use crate::models::Kind;
use crate::values::{Id, NULL, Value};
use crate::zones::Scratch;
use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pyo3::create_exception!(
    _kernel,
    BadLine,
    PyValueError,
    "(line, message, operation): not a history; `operation`: not one of the model's."
);

fn raised(bad: Bad) -> PyErr {
    BadLine::new_err((bad.line, bad.message, bad.operation))
}

fn broken(error: Broken) -> PyErr {
    match error {
        Broken::Io(error) => PyOSError::new_err(error.to_string()),
        Broken::Bad(bad) => raised(bad),
        Broken::Stopped(stop) => PyValueError::new_err(stop.reason()),
    }
}

fn model(name: &str) -> PyResult<Kind> {
    Kind::named(name).ok_or_else(|| PyValueError::new_err(format!("no model {name:?}")))
}

/// One partition: key, outcome, method, operations, judged, reason, evidence, order.
/// Evidence: operations, context (both lists of (call, return) positions), until, minimal.
fn partition<'py>(
    py: Python<'py>,
    history: &History,
    part: usize,
    judged: Judged,
) -> PyResult<Bound<'py, PyTuple>> {
    let key = history.parts[part].key.map(|k| &history.keys[k as usize]);
    let key = match key {
        None => py.None(),
        Some(text) => wtf8(py, text)?.unbind(),
    };
    let evidence = match judged.evidence {
        None => py.None(),
        Some(e) => (e.operations, e.context, e.until, e.minimal).into_pyobject(py)?.into(),
    };
    let order: Vec<u8> = judged.order.iter().flat_map(|o| o.to_ne_bytes()).collect();
    let head = (key, judged.outcome, judged.method, judged.operations, judged.judged);
    let tail = (judged.reason, evidence, PyBytes::new(py, &order));
    let all = (head.0, head.1, head.2, head.3, head.4, tail.0, tail.1, tail.2);
    all.into_pyobject(py)
}

/// A text that may hold lone surrogates, as a Python string.
fn wtf8<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = std::str::from_utf8(text) {
        return Ok(PyString::new(py, text).into_any());
    }
    PyBytes::new(py, text).call_method1("decode", ("utf-8", "surrogatepass"))
}

struct Options {
    threads: usize,
    keep_order: bool,
    plain: bool,
    /// Seconds that the evidence may take beyond the time limit.
    beyond: f64,
}

/// The share of the time limit that the evidence may take beyond it. (Python's descriptions
/// follow.)
const BEYOND: f64 = 0.03;

/// Judge the whole history without the interpreter lock, checking for Ctrl-C at intervals.
fn judged_parts(
    py: Python<'_>,
    history: &History,
    kind: Kind,
    initial: Id,
    limits: &Limits,
    options: &Options,
) -> PyResult<Vec<(usize, Judged)>> {
    let evidence = limits.beyond(options.beyond);
    let job = Job {
        kind,
        orders: &history.orders,
        initial,
        values: &history.values,
        limits,
        evidence: &evidence,
        keep_order: options.keep_order,
        plain: options.plain,
    };
    let mut found = Vec::with_capacity(history.parts.len());
    let mut interrupted = None;
    if history.operations < SMALL {
        // A thread would cost more than the work, unless the work is a long search: then the limit
        // of this first, short attempt is reached.
        let brief = limits.within(0.02);
        let job = Job { limits: &brief, ..job };
        let mut scratch = Scratch::default();
        for (part, ops) in history.parts.iter().enumerate() {
            found.push((part, judge(&job, &ops.ops, &mut scratch)));
        }
        if found.iter().all(|(_, judged)| judged.outcome != "unknown") {
            return Ok(found);
        }
        found.clear();
    }
    py.detach(|| {
        let (sender, results) = channel();
        let job = &job;
        std::thread::scope(|scope| {
            scope.spawn(move || judge_all(job, history, options.threads, &sender));
            loop {
                match results.recv_timeout(Duration::from_millis(100)) {
                    Ok(result) => found.push(result),
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        if let Err(error) = Python::attach(|py| py.check_signals()) {
                            limits.cancelled.store(true, Relaxed);
                            interrupted = Some(error);
                        }
                    }
                }
            }
        });
    });
    match interrupted {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Histories below this many operations are judged in the caller's own thread.
const SMALL: u64 = 5_000;

fn verdict<'py>(
    py: Python<'py>,
    history: &History,
    parts: Vec<(usize, Judged)>,
    seconds: (f64, f64),
    torn: Option<u64>,
) -> PyResult<Bound<'py, PyDict>> {
    let mut parts = parts;
    parts.sort_by_key(|(part, _)| *part);
    let list = PyList::empty(py);
    for (part, judged) in parts {
        // A key without operations is not part of the verdict.
        if judged.operations > 0 {
            list.append(partition(py, history, part, judged)?)?;
        }
    }
    let found = PyDict::new(py);
    found.set_item("partitions", list)?;
    found.set_item("operations", history.operations)?;
    found.set_item("events", history.events)?;
    found.set_item("answered", history.answered)?;
    found.set_item("changed", history.changed)?;
    found.set_item("read_seconds", seconds.0)?;
    found.set_item("check_seconds", seconds.1)?;
    found.set_item("peak_bytes", memory::peak())?;
    found.set_item("torn_line", torn)?;
    Ok(found)
}

/// The answer where a limit was reached while the history was read: no partition is complete.
fn stopped<'py>(
    py: Python<'py>,
    history: &History,
    stop: Stop,
    started: Instant,
) -> PyResult<Bound<'py, PyDict>> {
    let seconds = (started.elapsed().as_secs_f64(), 0.0);
    let found = verdict(py, history, Vec::new(), seconds, None)?;
    found.set_item("stopped", stop.reason())?;
    Ok(found)
}

/// Read and judge a file.
#[pyfunction]
#[pyo3(signature = (path, model_name, initial, *, time_limit=None, memory_limit=None, threads=2,
    keep_order=false, plain=false))]
#[allow(clippy::too_many_arguments)]
fn check_file<'py>(
    py: Python<'py>,
    path: PathBuf,
    model_name: &str,
    initial: &Bound<'py, PyAny>,
    time_limit: Option<f64>,
    memory_limit: Option<usize>,
    threads: usize,
    keep_order: bool,
    plain: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let kind = model(model_name)?;
    let rules = Rules { every_failed_cas_mismatched: false, jepsen: false };
    memory::reset_peak();
    let limits = Limits::new(time_limit, memory_limit);
    let started = Instant::now();
    let mut history = History::new(rules, kind);
    let torn = match py.detach(|| read_native(&path, &mut history, &limits)) {
        Err(Broken::Stopped(stop)) => return stopped(py, &history, stop, started),
        other => other.map_err(broken)?,
    };
    if let Some(bad) = history.refused() {
        return Err(raised(bad));
    }
    let initial = value(&mut history, initial)?;
    let read = started.elapsed().as_secs_f64();
    let beyond = BEYOND * time_limit.unwrap_or(0.0).clamp(0.0, 1e6);
    let options = Options { threads, keep_order, plain, beyond };
    let parts = judged_parts(py, &history, kind, initial, &limits, &options)?;
    let checked = started.elapsed().as_secs_f64() - read;
    verdict(py, &history, parts, (read, checked), torn)
}

/// Read and judge Jepsen's history.edn; None where Python has to read it.
#[pyfunction]
#[pyo3(signature = (path, model_name, initial, *, mismatched, independent=None, time_limit=None, memory_limit=None,
    threads=2, keep_order=false, plain=false))]
#[allow(clippy::too_many_arguments)]
fn check_edn<'py>(
    py: Python<'py>,
    path: PathBuf,
    model_name: &str,
    initial: &Bound<'py, PyAny>,
    mismatched: bool,
    independent: Option<bool>,
    time_limit: Option<f64>,
    memory_limit: Option<usize>,
    threads: usize,
    keep_order: bool,
    plain: bool,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let kind = model(model_name)?;
    let rules = Rules { every_failed_cas_mismatched: mismatched, jepsen: true };
    memory::reset_peak();
    let limits = Limits::new(time_limit, memory_limit);
    let started = Instant::now();
    let mut history = History::new(rules, kind);
    let mut lifted = independent == Some(true);
    let reading = py.detach(|| {
        let Ok(about) = std::fs::metadata(&path) else { return Ok(Reading::Left) };
        limits.check_room(about.len() as usize)?;
        let Ok(text) = std::fs::read(&path) else { return Ok(Reading::Left) };
        let first = edn::read(&text, &mut history, &limits, independent)?;
        if first != Reading::Independent {
            return Ok(first);
        }
        lifted = true;
        history = History::new(rules, kind);
        edn::read(&text, &mut history, &limits, Some(true))
    });
    match reading {
        Err(stop) => return stopped(py, &history, stop, started).map(Some),
        Ok(reading) if reading != Reading::Whole || history.refused().is_some() => return Ok(None),
        Ok(_) => {}
    }
    let initial = value(&mut history, initial)?;
    let read = started.elapsed().as_secs_f64();
    let beyond = BEYOND * time_limit.unwrap_or(0.0).clamp(0.0, 1e6);
    let options = Options { threads, keep_order, plain, beyond };
    let parts = judged_parts(py, &history, kind, initial, &limits, &options)?;
    let checked = started.elapsed().as_secs_f64() - read;
    let places = places(py, &history, &parts)?;
    let found = verdict(py, &history, parts, (read, checked), None)?;
    found.set_item("places", places)?;
    found.set_item("lifted", lifted)?;
    Ok(Some(found))
}

/// The positions in the text of the events in the evidence: {position: (from, to)}.
fn places<'py>(
    py: Python<'py>,
    history: &History,
    parts: &[(usize, Judged)],
) -> PyResult<Bound<'py, PyDict>> {
    let found = PyDict::new(py);
    let evidence = parts.iter().filter_map(|(_, judged)| judged.evidence.as_ref());
    for &(call, ret) in evidence.flat_map(|e| e.operations.iter().chain(&e.context)) {
        for position in [call, ret] {
            if let Some(place) = history.places.get(position as usize) {
                found.set_item(position, *place)?;
            }
        }
    }
    Ok(found)
}

/// Judge events that are in memory.
#[pyfunction]
#[pyo3(signature = (events, model_name, initial, *, time_limit=None, memory_limit=None, threads=2,
    keep_order=false, plain=false, mismatched=false, jepsen=false))]
#[allow(clippy::too_many_arguments)]
fn check_events<'py>(
    py: Python<'py>,
    events: &Bound<'py, PyAny>,
    model_name: &str,
    initial: &Bound<'py, PyAny>,
    time_limit: Option<f64>,
    memory_limit: Option<usize>,
    threads: usize,
    keep_order: bool,
    plain: bool,
    mismatched: bool,
    jepsen: bool,
) -> PyResult<Bound<'py, PyDict>> {
    let kind = model(model_name)?;
    let rules = Rules { every_failed_cas_mismatched: mismatched, jepsen };
    memory::reset_peak();
    let limits = Limits::new(time_limit, memory_limit);
    let started = Instant::now();
    let mut history = History::new(rules, kind);
    if let Some(stop) = feed(&mut history, events, &limits)? {
        return stopped(py, &history, stop, started);
    }
    if let Some(bad) = history.refused() {
        return Err(raised(bad));
    }
    let initial = value(&mut history, initial)?;
    let read = started.elapsed().as_secs_f64();
    let beyond = BEYOND * time_limit.unwrap_or(0.0).clamp(0.0, 1e6);
    let options = Options { threads, keep_order, plain, beyond };
    let parts = judged_parts(py, &history, kind, initial, &limits, &options)?;
    let checked = started.elapsed().as_secs_f64() - read;
    verdict(py, &history, parts, (read, checked), None)
}

/// Add events (tuples laid out as `histories.events.Event`) to the history; returns what stopped
/// that.
fn feed(
    history: &mut History,
    events: &Bound<'_, PyAny>,
    limits: &Limits,
) -> PyResult<Option<Stop>> {
    let mut names = Names::default();
    for event in events.try_iter()? {
        let event = event?;
        let fields = event.cast::<PyTuple>()?;
        let line = u64::from(history.events) + 1;
        let event = names.event(history, fields)?;
        history.push(&event, line).map_err(raised)?;
        if line % LOOK == 0 {
            if let Err(stop) = limits.check() {
                return Ok(Some(stop));
            }
        }
    }
    Ok(None)
}

/// The last strings seen, by identity (and kept alive for it): Python shares short constants.
#[derive(Default)]
struct Names<'py> {
    f: Option<(Bound<'py, PyAny>, F)>,
    key: Option<(Bound<'py, PyAny>, u32)>,
}

impl<'py> Names<'py> {
    fn event(&mut self, history: &mut History, fields: &Bound<'py, PyTuple>) -> PyResult<Event> {
        let process = fields.get_item(2)?;
        let process = match process.extract::<&str>() {
            Ok("nemesis") => NEMESIS,
            Ok(name) => history.process(name.as_bytes()),
            // A number that is not small is left to Python.
            _ => process.extract::<u32>().map(i64::from)?,
        };
        let kind = match fields.get_item(3)?.extract::<&str>()? {
            "invoke" => Type::Invoke,
            "ok" => Type::Ok,
            "fail" => Type::Fail,
            _ => Type::Info,
        };
        let error = fields.get_item(8)?;
        let error = error.extract::<&str>().unwrap_or("");
        let mismatch = kind == Type::Fail && error == "mismatch";
        let empty = matches!(error, "empty" | ":empty");
        let observed = match fields.get_item(10)?.is_truthy()? {
            true => Some(value(history, &fields.get_item(9)?)?),
            false => None,
        };
        let key = self.key(history, &fields.get_item(5)?)?;
        Ok(Event {
            index: None,
            time: fields.get_item(1)?.extract::<i64>().ok(),
            process,
            kind,
            f: self.f(&fields.get_item(4)?)?,
            key,
            value: raw(history, &fields.get_item(6)?)?,
            mismatch,
            empty,
            observed,
            order: order(&fields.get_item(11)?),
        })
    }

    fn f(&mut self, name: &Bound<'py, PyAny>) -> PyResult<F> {
        if let Some((known, f)) = &self.f {
            if known.is(name) {
                return Ok(*f);
            }
        }
        let f = F::named(name.extract::<&str>()?.as_bytes());
        self.f = Some((name.clone(), f));
        Ok(f)
    }

    fn key(&mut self, history: &mut History, key: &Bound<'py, PyAny>) -> PyResult<Option<u32>> {
        if key.is_none() {
            return Ok(None);
        }
        if let Some((known, id)) = &self.key {
            if known.is(key) {
                return Ok(Some(*id));
            }
        }
        // A whole number is the same key as its text.
        let counts = key.is_instance_of::<PyInt>() && !key.is_instance_of::<PyBool>();
        let text = if counts { key.str()?.into_any() } else { key.clone() };
        let id = history.key(&bytes(&text)?);
        self.key = Some((key.clone(), id));
        Ok(Some(id))
    }
}

/// The position in the event's further fields, if any.
fn order(extra: &Bound<'_, PyAny>) -> Option<i64> {
    let place = extra.cast::<PyDict>().ok()?.get_item("order").ok()??;
    if place.is_instance_of::<PyBool>() {
        return None;
    }
    place.extract::<i64>().ok().filter(|&place| (0..1 << 62).contains(&place))
}

fn bytes(text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(text) = text.extract::<&str>() {
        return Ok(text.as_bytes().to_vec());
    }
    if !text.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("not a text"));
    }
    text.call_method1("encode", ("utf-8", "surrogatepass"))?.extract()
}

fn items(history: &mut History, list: &Bound<'_, PyAny>, depth: u32) -> PyResult<Vec<Id>> {
    list.try_iter()?.map(|item| nested(history, &item?, depth + 1)).collect()
}

fn raw(history: &mut History, object: &Bound<'_, PyAny>) -> PyResult<Raw> {
    if object.is_none() {
        return Ok(Raw::One(NULL));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        let items = items(history, object, 0)?;
        return Ok(match items[..] {
            [a, b] => Raw::Two(a, b),
            _ => Raw::One(history.values.intern(Value::List(items.into()))),
        });
    }
    Ok(Raw::One(value(history, object)?))
}

/// A JSON value of Python, interned. A TypeError for anything else: the reference reports it.
fn value(history: &mut History, object: &Bound<'_, PyAny>) -> PyResult<Id> {
    nested(history, object, 0)
}

fn nested(history: &mut History, object: &Bound<'_, PyAny>, depth: u32) -> PyResult<Id> {
    if depth > DEPTH {
        return Err(PyTypeError::new_err("nested too deeply"));
    }
    if object.is_none() {
        return Ok(NULL);
    }
    if let Ok(flag) = object.cast::<PyBool>() {
        return Ok(history.values.intern(Value::Bool(flag.is_true())));
    }
    if object.is_instance_of::<PyInt>() {
        return match object.extract::<i64>() {
            Ok(number) => Ok(history.values.int(number)),
            Err(_) => Ok(history.values.integer(&object.str()?.to_string())),
        };
    }
    if object.is_instance_of::<PyString>() {
        return Ok(history.values.text(&bytes(object)?));
    }
    if let Ok(number) = object.cast::<PyFloat>() {
        let number: f64 = number.extract()?;
        if !number.is_finite() {
            return Err(PyTypeError::new_err("not a JSON number"));
        }
        return Ok(history.values.float(number));
    }
    if let Ok(object) = object.cast::<PyDict>() {
        let mut members = Vec::new();
        for (name, item) in object.iter() {
            members.push((bytes(&name.str()?.into_any())?, nested(history, &item, depth + 1)?));
        }
        return Ok(history.values.object(members));
    }
    if !object.is_instance_of::<PyList>() && !object.is_instance_of::<PyTuple>() {
        return Err(PyTypeError::new_err("not a JSON value"));
    }
    let items = items(history, object, depth)?;
    Ok(history.values.intern(Value::List(items.into())))
}

/// A growing history, judged repeatedly: only keys with new events are judged again.
#[pyclass]
struct Live {
    history: History,
    kind: Kind,
    initial: Py<PyAny>,
    judged: Vec<usize>,
    scratch: Scratch,
}

#[pymethods]
impl Live {
    #[new]
    fn new(model_name: &str, initial: Py<PyAny>) -> PyResult<Live> {
        let rules = Rules { every_failed_cas_mismatched: false, jepsen: false };
        let kind = model(model_name)?;
        Ok(Live {
            history: History::new(rules, kind),
            kind,
            initial,
            judged: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    fn feed(&mut self, events: &Bound<'_, PyAny>) -> PyResult<u32> {
        feed(&mut self.history, events, &Limits::new(None, None))?;
        match self.history.refused() {
            Some(bad) => Err(raised(bad)),
            None => Ok(self.history.events),
        }
    }

    /// Judge what has changed, within a time limit: (whether all of it was judged, the first
    /// invalid partition or None).
    fn judge<'py>(
        &mut self,
        py: Python<'py>,
        seconds: f64,
    ) -> PyResult<(bool, Option<Bound<'py, PyTuple>>)> {
        let initial = value(&mut self.history, &self.initial.bind(py).clone())?;
        let limits = Limits::new(Some(seconds), None);
        let Live { history, kind, judged, scratch, .. } = self;
        judged.resize(history.parts.len(), usize::MAX);
        let history = &*history;
        let job = Job {
            kind: *kind,
            orders: &history.orders,
            initial,
            values: &history.values,
            limits: &limits,
            evidence: &limits,
            keep_order: false,
            plain: false,
        };
        let mut whole = true;
        let failed = py.detach(|| {
            for (part, ops) in history.parts.iter().enumerate() {
                let now = changes(&ops.ops);
                if judged[part] == now {
                    continue;
                }
                let found = judge(&job, &ops.ops, scratch);
                match found.outcome {
                    "invalid" => return Some((part, found)),
                    "unknown" => whole = false,
                    _ => judged[part] = now,
                }
            }
            None
        });
        let failed = match failed {
            Some((part, found)) => Some(partition(py, history, part, found)?),
            None => None,
        };
        Ok((whole, failed))
    }
}

/// A number that grows with every event of a partition.
fn changes(ops: &[crate::history::Op]) -> usize {
    let done = ops.iter().filter(|op| op.ret != crate::history::NEVER).count();
    ops.len() + done
}

#[pymodule]
fn _kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", env!("CARGO_PKG_VERSION"))?;
    module.add("MODELS", Kind::ALL.map(Kind::name).to_vec())?;
    module.add("BadLine", module.py().get_type::<BadLine>())?;
    module.add_function(wrap_pyfunction!(check_file, module)?)?;
    module.add_function(wrap_pyfunction!(check_edn, module)?)?;
    module.add_function(wrap_pyfunction!(check_events, module)?)?;
    module.add_class::<Live>()?;
    Ok(())
}
