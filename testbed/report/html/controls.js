// Rule: what stands around the matrix: controls, facets, legend, status. Built once, or when their choices change; then only set.
// @ts-check

const CONTROL_TEXT = {
  show: "Show", changed: "What changed", from: "from", to: "to", exchange: "Exchange", by: "Colour by", order: "Order by",
  squares: "Squares", smaller: "smaller", fit: "Fit", larger: "larger",
  filter: "Filter by text", placeholder: "domain, software, policy, cause …", fold: " hide servers without a match",
  clear: "Clear the filter", corner: "corner: a surprise", noneJudged: "no pair could be judged",
};
const ZOOM = 1.3;

/** @type {(id: string, label: string, options: [string, string][], choose: (value: string) => void) => HTMLElement} */
function selectField(id, label, options, choose) {
  /** @type {(event: {target: HTMLSelectElement}) => void} */
  const onchange = (event) => choose(event.target.value);
  const choices = options.map(([value, text]) => element("option", { value, text }));
  return element("label", { class: "field", for: id }, span(label), element("select", { id, onchange }, choices));
}
/** Buttons side by side under a label. @type {(id: string, label: string, ...buttons: Children[]) => HTMLElement} */
function segments(id, label, ...buttons) {
  return element("div", { class: "field" }, element("span", { id, text: label }),
    element("div", { class: "segments", role: "group", "aria-labelledby": id }, ...buttons));
}
const clearFilter = () => go({ q: "", facets: {} });
/** The facets of the state, of which one has other values. @type {(facet: string, values: Iterable<string>) => Partial<State>} */
const withFacet = (facet, values) => ({ facets: { ...page.state.facets, [facet]: [...values] } });
/** The values with one put in, or taken out if it was there. @type {(facet: string, value: string) => Set<string>} */
function toggled(facet, value) {
  const values = new Set(page.state.facets[facet] || []);
  if (!values.delete(value)) values.add(value);
  return values;
}

function buildControls() {
  byId("controls").append(
    element("div", { class: "line" }, viewControls(), lookControls()),
    element("div", { class: "line" }, textFilter(), element("div", { class: "facets", id: "facets" })),
    element("div", { class: "line", id: "filter-line" },
      foldBox(), button(CONTROL_TEXT.clear, clearFilter, { class: "button", id: "clear" })));
}

/** Which phase, what changed, which exchange. @type {() => Child[]} */
function viewControls() {
  /** @type {[string, string][]} */
  const phases = run.phases.map((phase, number) => [String(number), phase.name]);
  /** @type {[string, string][]} */
  const exchanges = run.exchanges.map((name, number) => [String(number), name]);
  const buttons = phases.map(([number, name]) => (
    button(name, () => go({ view: "phase", phase: Number(number), ...withFacet("tone", []) }), { "data-view": number })));
  const changed = button(CONTROL_TEXT.changed, () => go({ view: "change", ...withFacet("tone", []) }), { "data-view": "change" });
  return [
    segments("view-label", CONTROL_TEXT.show, buttons, LAST_PHASE > 0 && changed),
    LAST_PHASE > 1 && element("div", { class: "field pairof", id: "steps" },
      selectField("from", CONTROL_TEXT.from, phases, (value) => go({ view: "change", from: Number(value) })),
      selectField("to", CONTROL_TEXT.to, phases, (value) => go({ view: "change", to: Number(value) }))),
    exchanges.length > 1 && selectField("exchange", CONTROL_TEXT.exchange, exchanges, (value) => go({ exchange: Number(value) })),
  ];
}

/** Colour, order, size. @type {() => Child[]} */
function lookControls() {
  /** @type {(factor: number) => void} */
  const zoom = (factor) => {
    const side = (page.layout ? page.layout.side : LARGEST_FIT) * factor;
    go({ size: Math.max(SMALLEST, Math.min(LARGEST, factor < 1 ? Math.round(side) : Math.ceil(side))) });
  };
  return [
    selectField("by", CONTROL_TEXT.by, Object.entries(run.words.colourings), (value) => (
      go({ by: value === "outcome" || value === "change" ? null : value, ...withFacet("tone", []) }))),
    selectField("order", CONTROL_TEXT.order, Object.entries(run.words.orders), (value) => go({ order: value })),
    segments("size-label", CONTROL_TEXT.squares,
      button("−", () => zoom(1 / ZOOM), { "aria-label": CONTROL_TEXT.smaller }),
      button(CONTROL_TEXT.fit, () => go({ size: 0 })),
      button("+", () => zoom(ZOOM), { "aria-label": CONTROL_TEXT.larger })),
  ];
}

function textFilter() {
  /** @type {(event: {target: HTMLInputElement}) => void} */
  const oninput = (event) => go({ q: event.target.value }, true);
  const { placeholder } = CONTROL_TEXT;
  return element("label", { class: "field grow", for: "q" }, span(CONTROL_TEXT.filter),
    element("input", { id: "q", type: "search", autocomplete: "off", spellcheck: "false", placeholder, oninput }));
}

function foldBox() {
  /** @type {(event: {target: HTMLInputElement}) => void} */
  const onchange = (event) => go({ fold: event.target.checked });
  return element("label", { class: "check" }, element("input", { type: "checkbox", id: "fold", onchange }), CONTROL_TEXT.fold);
}

/** @type {(state: State) => void} */
function showControls(state) {
  const view = state.view === "change" ? "change" : String(state.phase);
  for (const each of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-view]"))) {
    each.setAttribute("aria-pressed", String(each.dataset.view === view));
  }
  const values = { from: state.from, to: state.to, exchange: state.exchange, by: colouringOf(state), order: state.order };
  const by = /** @type {HTMLSelectElement} */ (byId("by"));
  for (const option of by.options) option.disabled = option.hidden = !colourable(state, option.value);
  for (const [id, value] of Object.entries(values)) {
    const control = controlById(id); // without a choice there is no control
    if (control) control.value = String(value);
  }
  const steps = controlById("steps");
  if (steps) steps.hidden = state.view !== "change";
  const [text, fold] = [controlById("q"), controlById("fold")];
  if (text && document.activeElement !== text) text.value = state.q;
  if (fold) fold.checked = state.fold;
  byId("filter-line").hidden = !isFiltered(state) && !state.fold;
}

// --- facets ---

let builtFacets = "";
/** @type {(view: View) => void} */
function showFacets(view) {
  const { state } = view;
  const holder = byId("facets");
  const key = [state.view, state.phase, state.from, state.to, state.exchange].join("|");
  if (builtFacets !== key) {
    builtFacets = key;
    const opened = within(holder, "details[open]")?.dataset.facet;
    holder.replaceChildren(...present(Object.keys(run.words.facets).map((facet) => facetOf(view, facet, facet === opened))));
  }
  for (const details of holder.querySelectorAll("details")) setFacet(view, details);
}

/** @type {(view: View, facet: string, open: boolean) => Child} */
function facetOf(view, facet, open) {
  const values = choicesOf(view, facet);
  const fewest = facet === "mark" ? 1 : 2; // one value that all have says nothing
  if (values.length < fewest && !(view.state.facets[facet] || []).length) return null;
  return element("details", { class: "facet", "data-facet": facet, open },
    element("summary", {}, run.words.facets[facet], span("", "n")),
    element("div", { class: "choices" }, values.map((value) => choiceOf(facet, value))));
}

/** @type {(facet: string, value: string) => HTMLElement} */
function choiceOf(facet, value) {
  const onchange = () => go(withFacet(facet, toggled(facet, value)));
  const text = facet === "mark" ? run.words.marks[value] || value : facet === "mend" ? value.replace(":", " ") : value;
  return element("label", { class: "check" }, element("input", { type: "checkbox", value, onchange }),
    span(text), span("", "n"));
}

/** What is chosen, and in an open facet how many pairs each value has.
 * @type {(view: View, details: HTMLDetailsElement) => void} */
function setFacet(view, details) {
  const facet = details.dataset.facet || "";
  const chosen = view.state.facets[facet] || [];
  const counts = details.open ? countsOf(view, facet) : null;
  within(details, "summary .n").textContent = chosen.length ? ` (${chosen.length})` : "";
  for (const box of details.querySelectorAll("input")) {
    const label = /** @type {HTMLElement} */ (box.parentElement);
    box.checked = chosen.includes(box.value);
    within(label, ".n").textContent = counts ? figure(counts.get(box.value) || 0) : "";
  }
}

/** @type {(but?: EventTarget) => void} */
function closeFacets(but) {
  for (const details of byId("facets").querySelectorAll("details")) if (details.open && details !== but) details.open = false;
}

// --- legend and status ---

let builtLegend = "";
/** @type {(view: View) => void} */
function showLegend(view) {
  const { colouring, counts } = view;
  const chosen = view.state.facets.tone || [];
  const legend = byId("legend");
  const tones = run.colourings[colouring];
  const shown = tones.filter(({ key }, tone) => counts[tone] || chosen.includes(key));
  const key = [colouring, ...shown.map((tone) => tone.key)].join("|");
  if (builtLegend !== key) {
    builtLegend = key;
    const corner = element("span", { class: "corner", "aria-hidden": "true" });
    const surprise = hasCorners(colouring) && element("span", { class: "key" }, corner, CONTROL_TEXT.corner);
    legend.replaceChildren(...present([...shown.map((tone) => legendButton(colouring, tone)), surprise]));
  }
  for (const each of legend.querySelectorAll("button")) {
    const tone = each.dataset.tone || "";
    each.setAttribute("aria-pressed", String(chosen.includes(tone)));
    within(each, ".n").textContent = figure(counts[TONE[colouring][tone]]);
  }
}

/** @type {(colouring: string, tone: Tone) => HTMLElement} */
function legendButton(colouring, { key, label }) {
  const onclick = () => go(withFacet("tone", toggled("tone", key)));
  return element("button", { type: "button", "data-tone": key, onclick },
    swatch(colouring, TONE[colouring][key]), span(label), span("", "n"));
}

/** @type {(view: View) => string} */
function statusText(view) {
  const { state } = view;
  const { delivered, judged, open, broken, incomparable } = tallyOf(view);
  if (state.view === "change") {
    const unsure = incomparable ? `, ${figure(incomparable)} cannot be compared` : "";
    return `${fromTo(state.from, state.to)}: ${count(broken, "pair")} newly broken${unsure}.`;
  }
  const through = judged ? `${figure(delivered)} of ${count(judged, "pair")} got through` : CONTROL_TEXT.noneJudged;
  return `In '${run.phases[state.phase].name}': ${through}${judged && open ? `, ${figure(open)} could not be judged` : ""}.`;
}

/** @type {(view: View) => void} */
function showStatus(view) {
  const { passed, pairs, filtered } = view;
  const share = `${figure(passed)} of ${count(pairs.length, "square")} ${passed === 1 ? "passes" : "pass"} the filter.`;
  byId("status").textContent = filtered ? `${statusText(view)} ${share}` : statusText(view);
}
