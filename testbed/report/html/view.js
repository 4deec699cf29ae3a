// Rule: what is shown: which pairs, in which tone, and which of them pass the filter. Pure functions of the state.
// @ts-check

/**
 * Two servers, as one state of the page shows them.
 * @typedef {object} Pair
 * @property {number} place sender * SERVERS + receiver
 * @property {Cell | undefined} cell of the phase that is looked at
 * @property {Cell | undefined} before of the earlier phase, where changes are looked at
 */
/**
 * All that follows from a state, but for the chosen pair and the open list.
 * @typedef {object} View
 * @property {State} state
 * @property {string} colouring
 * @property {boolean} filtered
 * @property {Pair[]} pairs
 * @property {Int16Array} tones by place: a number of the colouring's tones, or NO_TONE where nothing was planned
 * @property {Uint8Array} passing by place: whether the pair passes the filter
 * @property {Uint8Array} surprises by place: whether its corner is marked
 * @property {number[]} counts pairs by tone
 * @property {number} passed how many pairs pass
 * @property {Axis} rows senders
 * @property {Axis} columns receivers
 */

const NO_TONE = -1;

// --- what a state is about ---

/** Between phases only changes and causes have a colour. @type {(state: State) => string} */
function colouringOf(state) {
  if (state.view === "change") return state.by === "cause" ? "cause" : "change";
  return state.by && state.by !== "change" ? state.by : "outcome";
}
/** Whether a colouring can be chosen. @type {(state: State, colouring: string) => boolean} */
const colourable = (state, colouring) => (
  state.view === "change" ? ["change", "cause"].includes(colouring) : colouring !== "change");

/** Whether surprises have a corner; elsewhere the colour says it, or something else is asked.
 * @type {(colouring: string) => boolean} */
const hasCorners = (colouring) => ["outcome", "change"].includes(colouring);
/** The phase that is looked at: of a change the later one. @type {(state: State) => number} */
const shownPhase = (state) => (state.view === "change" ? state.to : state.phase);
/** The phase that settings are compared with. @type {(state: State) => number} */
const earlierPhase = (state) => (state.view === "change" ? state.from : state.phase);
/** @type {(state: State) => boolean} */
const isFiltered = (state) => Boolean(state.q) || FACETS.some((facet) => (state.facets[facet] || []).length);
/** The cell of the earlier phase, where changes are looked at. @type {(state: State, place: number) => Cell | undefined} */
const cellBefore = (state, place) => (state.view === "change" ? CELLS[state.from][state.exchange][place] : undefined);
/** @type {(pair: Pair) => boolean} */
const newlyBroken = ({ cell, before }) => changeBetween(before, cell) === CHANGE["newly-broken"];

/** @type {(state: State) => Pair[]} */
function pairsOf(state) {
  const cells = CELLS[shownPhase(state)][state.exchange];
  const pairs = [];
  for (let place = 0; place < SERVERS * SERVERS; place++) {
    const itself = place % (SERVERS + 1) === 0;
    if (itself || !planned(state.exchange, place)) continue;
    pairs.push({ place, cell: cells[place], before: cellBefore(state, place) });
  }
  return pairs;
}

// --- tones ---

/** Per colouring: tone's key -> its number. */
const TONE = Object.fromEntries(Object.entries(run.colourings)
  .map(([name, tones]) => [name, numbered(tones.map((tone) => tone.key))]));

/** What a colouring says of a cell that was judged: a tone's key. @type {Record<string, (cell: Cell) => string>} */
const TONE_OF_JUDGED = {
  encryption: (cell) => (cell.broken ? "not-delivered" : run.kinds[cell.kind]),
  authentication: (cell) => {
    const proof = (cell.row.channel || {}).authentication || "";
    if (cell.broken) return "not-delivered";
    return ["external", "dialback", "none"].includes(proof) ? proof : "unseen";
  },
  tls: (cell) => {
    const version = (cell.row.channel || {}).tls_version;
    if (cell.broken) return "not-delivered";
    if (cell.kind !== KIND.tls) return cell.kind === KIND.cleartext ? "cleartext" : "unseen";
    if (!version) return "unseen";
    return Object.hasOwn(TONE.tls, version) ? version : "other";
  },
  cause: (cell) => (cell.broken ? cell.row.cause || "not-judged" : "delivered"),
  surprise: (cell) => {
    if (!cell.row.surprise) return cell.broken ? "broken" : "fine";
    if (cell.broken) return "worse";
    return admitted(cell.row.expected).some(({ outcome }) => outcome === "delivered") ? "otherwise" : "better";
  },
};

/** A pair's tone, as a number of the colouring's tones. @type {(colouring: string, pair: Pair) => number} */
function toneOf(colouring, { cell, before }) {
  if (colouring === "change") return changeBetween(before, cell);
  if (colouring === "outcome") return cell ? cell.state : STATE.missing;
  if (cell && cell.kind !== KIND.unknown) return TONE[colouring][TONE_OF_JUDGED[colouring](cell)];
  const cause = colouring === "cause" && cell && cell.row.cause;
  return TONE[colouring][cause || "not-judged"];
}

// --- filter ---

/** A policy or certificate, with what it was earlier if that differs.
 * @type {(server: number, setting: "policy" | "certificate", phase: number, earlier: number) => string} */
function setting(server, setting, phase, earlier) {
  const now = run.phases[phase].settings[server][setting];
  const was = run.phases[earlier].settings[server][setting];
  return was === now ? now : `${was} → ${now}`;
}

/** @typedef {(server: number, phase: number, earlier: number) => string} Attribute */
/** What servers are put in order, grouped and filtered by. @type {Record<string, Attribute>} */
const ATTRIBUTES = {
  implementation: (server) => run.servers[server].implementation,
  version: (server) => `${run.servers[server].implementation.split("@")[0]} ${versionOf(server)}`,
  policy: (server, phase, earlier) => setting(server, "policy", phase, earlier),
  certificate: (server, phase, earlier) => setting(server, "certificate", phase, earlier),
};

/** Whether some attempts of the pair alone delivered and some did not. @type {(row: Row) => boolean} */
function sometimes({ shares }) {
  const counts = [shares && shares.cold, shares && shares.warm].map((share) => share || [0, 0]);
  const [delivered, tries] = [0, 1].map((place) => counts[0][place] + counts[1][place]);
  return delivered > 0 && delivered < tries;
}

/** Whether a cell carries a mark. @type {Record<string, (cell: Cell, pair: Pair) => boolean>} */
const MARKED = {
  surprise: (cell) => Boolean(cell.row.surprise),
  unconfirmed: (cell) => cell.row.confirmed === false,
  history: (cell) => Boolean(cell.row.history_dependent),
  disturbed: (cell) => Boolean(cell.row.interference),
  flaky: (cell) => Boolean(cell.row.flaky),
  sometimes: (cell) => sometimes(cell.row),
  open: (cell) => admitted(cell.row.expected).length > 1,
  "newly-broken": (_, pair) => newlyBroken(pair),
  mine: (cell) => run.servers[cell.sender].mine || run.servers[cell.receiver].mine,
};

/** How a group of failures is named in the address. @type {(group: Mend) => string} */
const mendKey = (group) => `${group.attribute}:${group.label}`;

/** The values that a pair has in a facet. @type {(facet: string, pair: Pair, state: State) => string[]} */
function valuesOf(facet, pair, state) {
  const { cell } = pair;
  const colouring = colouringOf(state);
  if (facet === "tone") return [run.colourings[colouring][toneOf(colouring, pair)].key];
  if (!cell) return [];
  const { cause, mend } = cell.row;
  if (facet === "cause") return [cause || ""];
  if (facet === "mend") return [mend === null ? "" : mendKey(run.mends[mend])];
  if (facet === "mark") return Object.keys(MARKED).filter((mark) => MARKED[mark](cell, pair));
  const [role, attribute] = facet.split("-");
  return [ATTRIBUTES[attribute](role === "sender" ? cell.sender : cell.receiver, shownPhase(state), earlierPhase(state))];
}

/** What the text filter looks through, per row. @type {string[]} */
const rowTexts = [];
/** @type {(row: Row) => string} */
function textOf(row) {
  if (rowTexts[row.number] === undefined) {
    rowTexts[row.number] = [run.states[row.state], row.cause, row.explanation, row.remedy, row.fault].join(" ").toLowerCase();
  }
  return rowTexts[row.number];
}

/** What the text filter looks through of a server. @type {(state: State, server: number) => string} */
function serverText(state, server) {
  const { domain, title, version } = run.servers[server];
  const attributes = Object.values(ATTRIBUTES).map((of) => of(server, shownPhase(state), earlierPhase(state)));
  return [domain, title, version, ...attributes].join(" ").toLowerCase();
}

/** Says whether a pair passes the text and every facet, but for one that is left out so that its values can be counted.
 * @type {(state: State, without?: string) => (pair: Pair) => boolean} */
function filterOf(state, without) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const servers = words.length ? run.servers.map((_, server) => serverText(state, server)) : [];
  const chosen = FACETS.filter((facet) => facet !== without && (state.facets[facet] || []).length);
  const wanted = chosen.map((facet) => ({ facet, values: new Set(state.facets[facet]) }));
  return (pair) => {
    const { cell } = pair;
    if (!cell && (words.length || wanted.some(({ facet }) => facet !== "tone"))) return false;
    const texts = cell && words.length ? [servers[cell.sender], servers[cell.receiver], textOf(cell.row)] : [];
    return words.every((word) => texts.some((text) => text.includes(word)))
      && wanted.every(({ facet, values }) => valuesOf(facet, pair, state).some((value) => values.has(value)));
  };
}

// --- the view ---

/** @type {(state: State) => View} */
function viewOf(state) {
  const colouring = colouringOf(state);
  const passes = filterOf(state);
  const corners = hasCorners(colouring);
  const pairs = pairsOf(state);
  const tones = new Int16Array(SERVERS * SERVERS).fill(NO_TONE);
  const [passing, surprises] = [new Uint8Array(SERVERS * SERVERS), new Uint8Array(SERVERS * SERVERS)];
  const [senders, receivers] = [new Uint8Array(SERVERS), new Uint8Array(SERVERS)];
  const counts = new Array(run.colourings[colouring].length).fill(0);
  let passed = 0;
  for (const pair of pairs) {
    const { place, cell } = pair;
    tones[place] = toneOf(colouring, pair);
    counts[tones[place]]++;
    if (corners && cell && cell.row.surprise) surprises[place] = 1;
    if (!passes(pair)) continue;
    passing[place] = 1;
    passed++;
    senders[Math.floor(place / SERVERS)] = receivers[place % SERVERS] = 1;
  }
  const filtered = isFiltered(state);
  const order = orderOf(state, pairs);
  const fold = state.fold && filtered;
  const rows = axisOf(state, fold ? order.filter((server) => senders[server]) : order);
  const columns = axisOf(state, fold ? order.filter((server) => receivers[server]) : order);
  return { state, colouring, filtered, pairs, tones, passing, surprises, counts, passed, rows, columns };
}

/** Pairs by the values that they have in a facet; with the filter, each value is counted.
 * @type {(view: View, facet: string) => Map<string, number>} */
function countsOf(view, facet) {
  const counts = new Map();
  const passes = filterOf(view.state, facet);
  for (const pair of view.pairs) {
    if (!pair.cell || !passes(pair)) continue;
    for (const value of valuesOf(facet, pair, view.state)) counts.set(value, (counts.get(value) || 0) + 1);
  }
  return counts;
}

/** The values of a facet that any pair has or that are chosen. @type {(view: View, facet: string) => string[]} */
function choicesOf(view, facet) {
  const values = new Set(view.pairs.flatMap((pair) => valuesOf(facet, pair, view.state)));
  for (const value of view.state.facets[facet] || []) values.add(value);
  values.delete("");
  return [...values];
}

/** How many pairs are what.
 * @type {(view: View) => Record<"delivered" | "judged" | "open" | "broken" | "incomparable", number>} */
function tallyOf(view) {
  const tally = { delivered: 0, judged: 0, open: 0, broken: 0, incomparable: 0 };
  for (const pair of view.pairs) {
    const { cell, before } = pair;
    if (!cell || cell.kind === KIND.unknown) tally.open++;
    else {
      tally.judged++;
      if (!cell.broken) tally.delivered++;
    }
    if (newlyBroken(pair)) tally.broken++;
    if (changeBetween(before, cell) === CHANGE["cannot-say"]) tally.incomparable++;
  }
  return tally;
}
