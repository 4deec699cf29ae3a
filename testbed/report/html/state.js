// Rule: what the page shows is one object, and that object is the address after `#`: a link to every state, and the back button.

const LAST = D.phases.length - 1;
const FACETS = ["tone", "cause", "mend", "mark", "sender-implementation", "sender-policy", "sender-certificate",
  "receiver-implementation", "receiver-policy", "receiver-certificate"];
const ORDERS = { implementation: "implementation", version: "version", policy: "policy", certificate: "certificate",
  number: "number in the scenario", failures: "failures, most first" };
const COLOURS = { outcome: "what became of it", change: "what changed", encryption: "encryption", authentication: "authentication",
  tls: "TLS version", cause: "cause", surprise: "surprise" };

const DEFAULTS = { view: LAST > 0 ? "change" : "phase", phase: LAST, from: 0, to: LAST, exchange: 0, by: null,
  order: "implementation", q: "", facets: {}, sender: null, receiver: null, list: null, size: 0, fold: false };
let S = { ...DEFAULTS };

/** What the colours mean: in the view of changes only changes and causes can be drawn. */
function colouring(s = S) {
  if (s.view === "change") return s.by === "cause" ? "cause" : "change";
  return s.by && s.by !== "change" ? s.by : "outcome";
}
/** The phase whose cells are looked at: in the view of changes the later one. */
const shownPhase = (s = S) => (s.view === "change" ? s.to : s.phase);
const sincePhase = (s = S) => (s.view === "change" ? s.from : s.phase);

function numberOf(domain) {
  const found = D.servers.findIndex((server) => server.domain === domain);
  return found < 0 ? null : found;
}

function write(s) {
  const p = new URLSearchParams();
  const phase = (n) => D.phases[n].name;
  if (D.phases.length) {
    if (s.view === "change") {
      p.set("from", phase(s.from));
      p.set("to", phase(s.to));
    } else p.set("phase", phase(s.phase));
  }
  if (s.by) p.set("by", s.by);
  if (s.exchange) p.set("exchange", D.exchanges[s.exchange]);
  if (s.order !== DEFAULTS.order) p.set("order", s.order);
  if (s.q) p.set("q", s.q);
  for (const facet of FACETS) for (const value of s.facets[facet] || []) p.append(facet, value);
  if (s.fold) p.set("fold", "1");
  if (s.size) p.set("size", s.size);
  if (s.list) p.set("list", s.list);
  if (s.sender !== null && s.receiver !== null) {
    p.set("sender", D.servers[s.sender].domain);
    p.set("receiver", D.servers[s.receiver].domain);
  }
  return "#" + p.toString();
}

/** A link may be old, or typed: what it names that the run has not is passed over. */
function read(hash) {
  const p = new URLSearchParams(hash.replace(/^#/, ""));
  const s = { ...DEFAULTS, facets: {} };
  const phase = (key) => D.phases.findIndex((each) => each.name === p.get(key));
  if (phase("phase") >= 0) Object.assign(s, { view: "phase", phase: phase("phase") });
  if (phase("from") >= 0 && phase("to") >= 0 && phase("from") !== phase("to")) {
    Object.assign(s, { view: "change", from: phase("from"), to: phase("to") });
  }
  if (Object.hasOwn(COLOURS, p.get("by") || "")) s.by = p.get("by");
  s.exchange = Math.max(0, D.exchanges.indexOf(p.get("exchange")));
  if (Object.hasOwn(ORDERS, p.get("order") || "")) s.order = p.get("order");
  s.q = p.get("q") || "";
  for (const facet of FACETS) if (p.has(facet)) s.facets[facet] = p.getAll(facet);
  s.fold = p.get("fold") === "1";
  const size = Number(p.get("size"));
  if (size >= 4 && size <= 60) s.size = Math.round(size);
  s.list = p.get("list");
  const [sender, receiver] = [numberOf(p.get("sender")), numberOf(p.get("receiver"))];
  if (sender !== null && receiver !== null && sender !== receiver) Object.assign(s, { sender, receiver });
  return s;
}

/** Change the state. `quiet` takes the place of the present entry in the browser's history: for what is being typed. */
function go(change, quiet = false) {
  S = { ...S, ...change };
  const hash = write(S);
  if (hash !== write(read(location.hash))) history[quiet ? "replaceState" : "pushState"](null, "", hash);
  show();
}

/** The link to a state that differs in something from the present one. */
const link = (change) => write({ ...S, ...change });

/** A link to a state: a plain click changes only what it names; its address holds the whole state, to be copied or opened anew. */
function stateLink(change, attributes, ...children) {
  return h("a", { ...attributes, href: link(change), onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(change);
  } }, ...children);
}
