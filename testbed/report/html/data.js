// Rule: reads the embedded data into cells, and says what a cell amounts to. Knows nothing of the page.

const D = JSON.parse(document.getElementById("data").textContent);
const N = D.servers.length;
const STATE = Object.fromEntries(D.states.map((name, place) => [name, place]));
const [TLS, CLEARTEXT, UNSEEN, BROKEN, UNKNOWN] = [0, 1, 2, 3, 4]; // the order of Kind, see testbed/report/grid.py

/** A row's fields, with the values that its cells share. Made once for each row, and only when it is asked for. */
const rowCache = new Array(D.rows.length);
function rowOf(number) {
  if (!rowCache[number]) {
    const fields = {};
    D.keys.forEach((key, place) => { fields[key] = D.values[D.rows[number][place]]; });
    fields.number = number;
    rowCache[number] = fields;
  }
  return rowCache[number];
}

/** One cell: where it is, and its row. `at` is where its own numbers begin in its list. */
class Cell {
  constructor(phase, exchange, list, at) {
    this.phase = phase;
    this.exchange = exchange;
    this.list = list;
    this.at = at;
  }
  get sender() { return this.list[this.at]; }
  get receiver() { return this.list[this.at + 1]; }
  get row() { return rowOf(this.list[this.at + 2]); }
  get seconds() { return this.list[this.at + 3] < 0 ? null : this.list[this.at + 3] / 1000; }
  get lines() { return this.list.slice(this.at + 5, this.at + 5 + this.list[this.at + 4]); }
  get state() { return this.row.state; }
  get kind() { return D.kinds[this.row.state]; }
  /** A field of the cell with its two domains put back. */
  get(key) { return restored(this.row[key], D.servers[this.sender].domain, D.servers[this.receiver].domain); }
}

function restored(value, sender, receiver) {
  if (typeof value === "string") {
    return value.includes("\ue000") || value.includes("\ue001")
      ? value.split("\ue000").join(sender).split("\ue001").join(receiver) : value;
  }
  if (Array.isArray(value)) return value.map((each) => restored(each, sender, receiver));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, restored(v, sender, receiver)]));
  }
  return value;
}

/** CELLS[phase][exchange][sender * N + receiver]: a Cell, or undefined where none was planned. */
const CELLS = D.cells.map((exchanges, phase) => exchanges.map((list, exchange) => {
  const found = new Array(N * N);
  for (let at = 0; at < list.length; at += 5 + list[at + 4]) {
    found[list[at] * N + list[at + 1]] = new Cell(phase, exchange, list, at);
  }
  return found;
}));

/** Whether any phase has a cell for the pair: others were not planned, and are left empty. */
function planned(exchange, place) {
  return !D.complete || CELLS.some((phase) => phase[exchange][place]);
}

/** What became of a pair between two phases, as a number of D.changes. */
function changeOf(before, after) {
  return D.change[before ? before.kind : UNKNOWN][after ? after.kind : UNKNOWN];
}

/** A policy or certificate in a phase, with what it was in an earlier one if that differs. */
function setting(server, what, phase, since) {
  const now = D.phases[phase].settings[server][what];
  const was = D.phases[since].settings[server][what];
  return was === now ? now : `${was} → ${now}`;
}

/** What servers can be put in order, grouped and filtered by. */
const ATTRIBUTES = {
  implementation: (server) => D.servers[server].implementation,
  version: (server) => `${D.servers[server].implementation.split("@")[0]} ${D.servers[server].version || "(version not known)"}`,
  policy: (server, phase, since) => setting(server, "policy", phase, since),
  certificate: (server, phase, since) => setting(server, "certificate", phase, since),
};

function count(n, noun, plural) {
  return `${n.toLocaleString("en")} ${n === 1 ? noun : plural || noun + "s"}`;
}
