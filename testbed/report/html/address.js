// Rule: what the page shows is one object, and that object is the address after `#`: a link to every state, and the back button.
// @ts-check

/**
 * @typedef {object} State
 * @property {"change" | "phase"} view
 * @property {number} phase the phase that is looked at, where changes are not
 * @property {number} from the earlier of two phases
 * @property {number} to the later one
 * @property {number} exchange
 * @property {string | null} by the colouring that was asked for
 * @property {string} order
 * @property {string} q the text to filter by
 * @property {Record<string, string[]>} facets the values that are chosen, by facet
 * @property {number | null} sender
 * @property {number | null} receiver
 * @property {string | null} list the list that was asked for
 * @property {number} size pixels of a square; 0: as large as fits
 * @property {boolean} fold whether servers without a match are hidden
 */

const FACETS = ["tone", ...Object.keys(run.words.facets)];
const SMALLEST = 4, LARGEST = 60;

/** @type {State} */
const DEFAULTS = { view: LAST_PHASE > 0 ? "change" : "phase", phase: LAST_PHASE, from: 0, to: LAST_PHASE, exchange: 0, by: null,
  order: "implementation", q: "", facets: {}, sender: null, receiver: null, list: null, size: 0, fold: false };

/** @type {(state: State) => string} */
function addressOf(state) {
  const parameters = new URLSearchParams();
  /** @type {(number: number) => string} */
  const phase = (number) => run.phases[number].name;
  if (run.phases.length) {
    if (state.view === "change") {
      parameters.set("from", phase(state.from));
      parameters.set("to", phase(state.to));
    } else parameters.set("phase", phase(state.phase));
  }
  if (state.by) parameters.set("by", state.by);
  if (state.exchange) parameters.set("exchange", run.exchanges[state.exchange]);
  if (state.order !== DEFAULTS.order) parameters.set("order", state.order);
  if (state.q) parameters.set("q", state.q);
  for (const facet of FACETS) for (const value of state.facets[facet] || []) parameters.append(facet, value);
  if (state.fold) parameters.set("fold", "1");
  if (state.size) parameters.set("size", String(state.size));
  if (state.list) parameters.set("list", state.list);
  if (state.sender !== null && state.receiver !== null) {
    parameters.set("sender", run.servers[state.sender].domain);
    parameters.set("receiver", run.servers[state.receiver].domain);
  }
  return "#" + parameters.toString();
}

/** A link may be old, or typed: what it names that the run has not is passed over. @type {(address: string) => State} */
function stateOf(address) {
  const parameters = new URLSearchParams(address.replace(/^#/, ""));
  const state = { ...DEFAULTS, facets: /** @type {Record<string, string[]>} */ ({}) };
  /** @type {(key: string) => number} */
  const phase = (key) => run.phases.findIndex((each) => each.name === parameters.get(key));
  /** @type {(key: string) => number | null} */
  const server = (key) => {
    const number = run.servers.findIndex((each) => each.domain === parameters.get(key));
    return number < 0 ? null : number;
  };
  if (phase("phase") >= 0) Object.assign(state, { view: "phase", phase: phase("phase") });
  if (phase("from") >= 0 && phase("to") >= 0 && phase("from") !== phase("to")) {
    Object.assign(state, { view: "change", from: phase("from"), to: phase("to") });
  }
  const by = parameters.get("by") || "";
  if (Object.hasOwn(run.words.colourings, by)) state.by = by;
  state.exchange = Math.max(0, run.exchanges.indexOf(parameters.get("exchange") || ""));
  const order = parameters.get("order") || "";
  if (Object.hasOwn(run.words.orders, order)) state.order = order;
  state.q = parameters.get("q") || "";
  for (const facet of FACETS) if (parameters.has(facet)) state.facets[facet] = parameters.getAll(facet);
  state.fold = parameters.get("fold") === "1";
  const size = Number(parameters.get("size"));
  if (size >= SMALLEST && size <= LARGEST) state.size = Math.round(size);
  state.list = parameters.get("list");
  const [sender, receiver] = [server("sender"), server("receiver")];
  if (sender !== null && receiver !== null && sender !== receiver) Object.assign(state, { sender, receiver });
  return state;
}
