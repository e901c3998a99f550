// Decodes what `harness/report/columns.py` encodes: typed arrays and a table of texts.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const TYPES = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f32: Float32Array, f64: Float64Array };

  async function bytesOf(encoded) {
    let bytes;
    if (Uint8Array.fromBase64) bytes = Uint8Array.fromBase64(encoded.data);
    else {
      const text = atob(encoded.data);
      bytes = new Uint8Array(text.length);
      for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    }
    if (!encoded.zip) return bytes.buffer;
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Response(stream).arrayBuffer();
  }

  A.decodeColumn = async (encoded) => {
    const values = new TYPES[encoded.type](await bytesOf(encoded));
    if (!encoded.rising) return values;
    const sums = new Float64Array(values.length);
    let sum = 0;
    for (let i = 0; i < values.length; i++) sums[i] = sum += values[i];
    return sums;
  };

  A.decodeColumns = async (columns) => {
    const names = Object.keys(columns);
    const decoded = await Promise.all(names.map((name) => A.decodeColumn(columns[name])));
    return Object.fromEntries(names.map((name, i) => [name, decoded[i]]));
  };

  // A function from the number of a text to the text; 0 is "".
  A.decodeTexts = async (encoded) => {
    const [ends, blob] = await Promise.all([A.decodeColumn(encoded.ends), bytesOf(encoded)]);
    const decoder = new TextDecoder();
    return (number) =>
      number ? decoder.decode(new Uint8Array(blob, ends[number - 1], ends[number] - ends[number - 1])) : '';
  };
})();
