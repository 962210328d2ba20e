// A second client of the cloud's protocol, written from docs/reference/protocol.md alone; Node 18 or newer, no packages.
//
//   KTL_URL=http://127.0.0.1:8765 KTL_TOKEN=ktl_... node examples/client.mjs task.json FOLDER
//
// task.json: {"request": a session request, "rounds": [{"classes": [0, 1], "counts": [2, 2], "vectors": [[...], ...]}]}.
// A round without "vectors" sends the ETF's own, as an edge would that has nothing left to learn. Each round's pairs
// are written to FOLDER/pairs-N.safetensors, byte for byte as they came.

import { createHash, randomBytes } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

const JSON_TYPE = "application/vnd.ktl.v1+json";
const PAYLOAD_TYPE = "application/vnd.ktl.v1+safetensors";
const PASSING = new Set([408, 425, 429, 502, 503, 504]);
const PATIENCE = 60_000; // milliseconds without progress
const url = process.env.KTL_URL.replace(/\/$/, "");

const digest = (bytes) => `sha-256=:${createHash("sha256").update(bytes).digest("base64")}:`;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

class Refused extends Error {
  constructor(status, problem) {
    super(`${status}: ${problem.detail ?? "no problem+json"}`);
    this.kind = (problem.type ?? "").replace("urn:ktl:error:", "");
    this.passing = PASSING.has(status) || this.kind === "round-not-open" || this.kind === "damaged";
  }
}

async function send(method, path, headers = {}, body = undefined) {
  const all = { Authorization: `Bearer ${process.env.KTL_TOKEN}`, "Accept-Encoding": "identity", ...headers };
  const answer = await fetch(url + path, { method, headers: all, body, redirect: "error" });
  if (answer.ok) return answer;
  const text = await answer.text();
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* of a proxy, say */ }
  const refused = new Refused(answer.status, problem);
  refused.retryAfter = 1000 * Number(answer.headers.get("Retry-After") ?? 0);
  throw refused;
}

// Tries again what may pass. `attempt` is told how to say that there was progress.
async function patiently(attempt) {
  let since = Date.now(), failures = 0;
  const progress = () => { since = Date.now(); failures = 0; };
  for (;;) {
    try {
      return await attempt(progress);
    } catch (error) {
      const mayPass = error instanceof Refused ? error.passing : !(error instanceof RangeError);
      const delay = Math.max(Math.min(200 * 2 ** failures++, 10_000) * (0.5 + Math.random() / 2), error.retryAfter ?? 0);
      if (!mayPass || Date.now() + delay - since > PATIENCE) throw error;
      await pause(delay);
    }
  }
}

const get = (path) => patiently(async () => (await send("GET", path, { Accept: JSON_TYPE })).json());

function readTensors(payload, kind) {
  const length = Number(payload.readBigUInt64LE(0));
  const header = JSON.parse(payload.subarray(8, 8 + length).toString());
  if (header.__metadata__.ktl !== `${kind}/1`) throw new RangeError(`these are no ${kind}`);
  delete header.__metadata__;
  const arrays = Object.entries(header).map(([name, { shape, data_offsets: [begin, end] }]) =>
    [name, { shape, bytes: payload.subarray(8 + length + begin, 8 + length + end) }]);
  return Object.fromEntries(arrays);
}

function writeTensors(arrays, kind) {
  const header = { __metadata__: { ktl: `${kind}/1` } };
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(arrays)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset += bytes.length] };
  }
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, ...Object.values(arrays).map(({ bytes }) => bytes)]);
}

function roundHalfToEven(x) {
  const below = Math.floor(x), rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

// Each row divided by its scale, in float32 as all numbers of the protocol.
function prototypes({ classes, counts, vectors }) {
  const rows = vectors.map((row) => row.map(Math.fround));
  const scales = rows.map((row) => Math.fround(Math.max(...row.map(Math.abs), 1e-12) / 127));
  const quantised = rows.flatMap((row, i) => row.map((x) => roundHalfToEven(Math.fround(x / scales[i]))));
  const int32 = (numbers) => Buffer.from(Int32Array.from(numbers).buffer);
  return writeTensors({
    scales: { dtype: "F32", shape: [rows.length], bytes: Buffer.from(Float32Array.from(scales).buffer) },
    classes: { dtype: "I32", shape: [classes.length], bytes: int32(classes) },
    counts: { dtype: "I32", shape: [counts.length], bytes: int32(counts) },
    vectors: { dtype: "I8", shape: [rows.length, rows[0].length], bytes: Buffer.from(Int8Array.from(quantised)) },
  }, "prototypes");
}

// A payload that is gone on with where the connection broke off, and taken only if it has its digest.
async function download(path) {
  let received = [], size = 0, etag = "";
  for (;;) {
    const payload = await patiently(async (progress) => {
      const range = size ? { Range: `bytes=${size}-`, "If-Range": etag } : {};
      const answer = await send("GET", `${path}?wait=20`, { Accept: `${PAYLOAD_TYPE}, ${JSON_TYPE}`, ...range });
      if (answer.status === 202) { await answer.arrayBuffer(); return null; }
      if (answer.status === 200) { received = []; size = 0; }
      etag = answer.headers.get("ETag");
      for await (const piece of answer.body) { received.push(piece); size += piece.length; progress(); }
      const whole = Buffer.concat(received);
      received = []; size = 0;
      if (answer.headers.get("Repr-Digest") !== digest(whole)) throw new Error("these bytes do not have their digest");
      return whole;
    });
    if (payload) return payload;
  }
}

async function openSession(request) {
  const body = JSON.stringify(request);
  const headers = { "Content-Type": JSON_TYPE, Accept: JSON_TYPE, "Idempotency-Key": randomBytes(16).toString("hex") };
  const answer = await patiently(() => send("POST", "/v1/sessions", headers, body));
  await answer.arrayBuffer();
  return new URL(answer.headers.get("Location"), url).pathname;
}

async function upload(path, payload) {
  const headers = { "Content-Type": PAYLOAD_TYPE, Accept: JSON_TYPE, "Content-Digest": digest(payload) };
  try {
    await (await patiently(() => send("PUT", path, headers, payload))).arrayBuffer();
  } catch (error) {
    if (error.kind !== "round-closed") throw error; // late: the round's pairs are for this edge too
  }
}

const [taskFile, folder] = process.argv.slice(2);
const { request, rounds } = JSON.parse(await readFile(taskFile, "utf8"));
await mkdir(folder, { recursive: true });
const edge = (await get("/v1")).token.name;
const session = await openSession(request);
const etf = readTensors(await download(`${session}/etf`), "etf").vectors.bytes;
const numbers = Array.from({ length: etf.length / 4 }, (_, index) => etf.readFloatLE(4 * index));
const ofClass = (index) => numbers.slice(index * request.num_classes, (index + 1) * request.num_classes);
for (const [index, round] of rounds.entries()) {
  const rows = round.vectors ?? round.classes.map(ofClass);
  await upload(`${session}/rounds/${index + 1}/prototypes/${edge}`, prototypes({ ...round, vectors: rows }));
  const payload = await download(`${session}/rounds/${index + 1}/pairs`);
  await writeFile(join(folder, `pairs-${index + 1}.safetensors`), payload);
  console.log(`round ${index + 1}: ${readTensors(payload, "pairs").lengths.shape[0]} pairs, ${payload.length} bytes`);
}
await send("DELETE", session);
