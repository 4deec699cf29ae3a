// Rule: the controls, the legend, and what follows a change of state. Starts the page.

const FACET_NAMES = { cause: "Cause", mend: "To mend", mark: "Marked as", "sender-implementation": "Sender's software", "sender-policy": "Sender's policy",
  "sender-certificate": "Sender's certificate", "receiver-implementation": "Receiver's software", "receiver-policy": "Receiver's policy", "receiver-certificate": "Receiver's certificate" };

function select(id, label, options, onchange) {
  return h("label", { class: "field", for: id }, h("span", { text: label }), h("select", { id, onchange: (event) => onchange(event.target.value) },
    options.map(([value, text]) => h("option", { value, text }))));
}

function buildControls() {
  const names = D.phases.map((phase, n) => [String(n), phase.name]);
  const views = [...names.map(([n, name]) => h("button", { type: "button", "data-view": n, text: name, onclick: () => go({ view: "phase", phase: Number(n), facets: { ...S.facets, tone: [] } }) })),
    LAST > 0 ? h("button", { type: "button", "data-view": "change", text: "What changed", onclick: () => go({ view: "change", facets: { ...S.facets, tone: [] } }) }) : null];
  const typed = (event) => go({ q: event.target.value }, true);
  byId("controls").append(
    h("div", { class: "line" },
      h("div", { class: "field" }, h("span", { id: "view-label", text: "Show" }), h("div", { class: "segments", role: "group", "aria-labelledby": "view-label" }, views)),
      LAST > 1 ? h("div", { class: "field pairof", id: "steps" }, select("from", "from", names, (v) => go({ view: "change", from: Number(v) })), select("to", "to", names, (v) => go({ view: "change", to: Number(v) }))) : null,
      D.exchanges.length > 1 ? select("exchange", "Exchange", D.exchanges.map((name, n) => [String(n), name]), (v) => go({ exchange: Number(v) })) : null,
      select("by", "Colour by", Object.entries(COLOURS), (v) => go({ by: v === "outcome" || v === "change" ? null : v, facets: { ...S.facets, tone: [] } })),
      select("order", "Order by", Object.entries(ORDERS), (v) => go({ order: v })),
      h("div", { class: "field" }, h("span", { id: "size-label", text: "Squares" }), h("div", { class: "segments", role: "group", "aria-labelledby": "size-label" },
        h("button", { type: "button", text: "−", "aria-label": "smaller", onclick: () => go({ size: Math.max(4, Math.round(M.side / 1.3)) }) }),
        h("button", { type: "button", text: "Fit", onclick: () => go({ size: 0 }) }),
        h("button", { type: "button", text: "+", "aria-label": "larger", onclick: () => go({ size: Math.min(60, Math.ceil(M.side * 1.3)) }) })))),
    h("div", { class: "line" },
      h("label", { class: "field grow", for: "q" }, h("span", { text: "Filter by text" }), h("input", { id: "q", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "domain, software, policy, cause …", oninput: typed })),
      h("div", { class: "facets", id: "facets" })),
    h("div", { class: "line", id: "filter-line" },
      h("label", { class: "check" }, h("input", { type: "checkbox", id: "fold", onchange: (event) => go({ fold: event.target.checked }) }), " hide servers without a match"),
      h("button", { type: "button", class: "button", id: "clear", text: "Clear the filter", onclick: clearFilter })));
}

const facetKey = () => [S.view, S.phase, S.from, S.to, S.exchange].join("|");
let builtFacets = "";
function showFacets() {
  const holder = byId("facets");
  if (builtFacets !== facetKey()) {
    builtFacets = facetKey();
    const opened = holder.querySelector("details[open]")?.dataset.facet;
    holder.replaceChildren(...Object.entries(FACET_NAMES).map(([facet, title]) => {
      const values = new Set();
      for (const [cell, before] of viewed()) if (cell) for (const value of valuesOf(facet, cell, before, S)) values.add(value);
      for (const value of S.facets[facet] || []) values.add(value);
      values.delete("");
      if (values.size < (facet === "mark" ? 1 : 2) && !(S.facets[facet] || []).length) return "";
      return h("details", { class: "facet", "data-facet": facet, open: facet === opened }, h("summary", {}, title, h("span", { class: "n" })),
        h("div", { class: "choices" }, [...values].map((value) => h("label", { class: "check" },
          h("input", { type: "checkbox", value, onchange: (event) => {
            const chosen = new Set(S.facets[facet] || []);
            if (event.target.checked) chosen.add(value); else chosen.delete(value);
            go({ facets: { ...S.facets, [facet]: [...chosen] } });
          } }), h("span", { text: facet === "mark" ? MARKS[value] || value : facet === "mend" ? value.replace(":", " ") : value }), h("span", { class: "n" })))));
    }));
  }
  for (const details of holder.querySelectorAll("details")) {
    const facet = details.dataset.facet;
    const chosen = S.facets[facet] || [];
    const counts = new Map();
    if (details.open) {
      const passes = matcher(S, facet);
      for (const [cell, before] of viewed()) if (cell && passes(cell, before)) for (const value of valuesOf(facet, cell, before, S)) counts.set(value, (counts.get(value) || 0) + 1);
    }
    details.querySelector("summary .n").textContent = chosen.length ? ` (${chosen.length})` : "";
    for (const box of details.querySelectorAll("input")) {
      box.checked = chosen.includes(box.value);
      box.parentElement.querySelector(".n").textContent = details.open ? (counts.get(box.value) || 0).toLocaleString("en") : "";
    }
  }
}

let builtLegend = "";
function showLegend() {
  const name = colouring();
  const chosen = S.facets.tone || [];
  const legend = byId("legend");
  const present = D.colourings[name].map((_, place) => place).filter((place) => M.counts[place] || chosen.includes(TONES[name][place]));
  const key = `${name}|${present.join()}`;
  if (builtLegend !== key) {
    builtLegend = key;
    legend.replaceChildren(...present.map((place) => h("button", { type: "button", "data-tone": TONES[name][place], onclick: () => {
      const now = new Set(S.facets.tone || []);
      const tone = TONES[name][place];
      if (now.has(tone)) now.delete(tone); else now.add(tone);
      go({ facets: { ...S.facets, tone: [...now] } });
    } }, swatch(name, place), h("span", { text: D.colourings[name][place].label }), h("span", { class: "n" }))),
    ...(["outcome", "change"].includes(name) ? [h("span", { class: "key" }, h("span", { class: "corner", "aria-hidden": "true" }), "corner: a surprise")] : []));
  }
  for (const button of legend.querySelectorAll("button")) {
    const place = TONES[name].indexOf(button.dataset.tone);
    button.setAttribute("aria-pressed", String(chosen.includes(button.dataset.tone)));
    button.querySelector(".n").textContent = M.counts[place].toLocaleString("en");
  }
}

function showStatus() {
  const text = [];
  if (S.view === "change") {
    const [broke, unsure] = ["newly-broken", "cannot-say"].map((name) => D.changes.indexOf(name));
    let n = 0, open = 0;
    for (const [cell, before] of viewed()) {
      if (changeOf(before, cell) === broke) n++;
      if (changeOf(before, cell) === unsure) open++;
    }
    text.push(`From '${D.phases[S.from].name}' to '${D.phases[S.to].name}': ${count(n, "pair")} newly broken${open ? `, ${open.toLocaleString("en")} cannot be compared` : ""}.`);
  } else {
    let delivered = 0, judged = 0, open = 0;
    for (const [cell] of viewed()) {
      if (!cell || cell.kind === UNKNOWN) open++;
      else { judged++; if (cell.kind !== BROKEN) delivered++; }
    }
    text.push(`In '${D.phases[S.phase].name}': ${judged ? `${delivered.toLocaleString("en")} of ${count(judged, "pair")} got through` : "no pair could be judged"}`
      + `${judged && open ? `, ${open.toLocaleString("en")} could not be judged` : ""}.`);
  }
  if (filtered(S)) text.push(`${M.matching.toLocaleString("en")} of ${count(M.total, "square")} ${M.matching === 1 ? "passes" : "pass"} the filter.`);
  byId("status").textContent = text.join(" ");
}

function showControls() {
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", String(button.dataset.view === (S.view === "change" ? "change" : String(S.phase))));
  }
  if (byId("from")) {
    byId("from").value = String(S.from);
    byId("to").value = String(S.to);
    byId("steps").hidden = S.view !== "change";
  }
  if (byId("exchange")) byId("exchange").value = String(S.exchange);
  for (const option of byId("by").options) {
    option.disabled = option.hidden = S.view === "change" ? !["change", "cause"].includes(option.value) : option.value === "change";
  }
  byId("by").value = colouring();
  byId("order").value = S.order;
  if (document.activeElement !== byId("q")) byId("q").value = S.q;
  byId("fold").checked = S.fold;
  byId("filter-line").hidden = !filtered(S) && !S.fold;
}

/** Everything anew from the state. What did not change is left as it stands. */
let matrixKey = "";
function show() {
  if (!N || !D.phases.length) return;
  const key = write({ ...S, sender: null, receiver: null, list: null });
  if (key !== matrixKey) {
    matrixKey = key;
    prepare();
    layout();
    showLegend();
    showStatus();
    showFacets();
  }
  showControls();
  showStory();
  showLists();
  if (S.sender !== null) focusOn(S.sender, S.receiver);
  draw();
}

function buildTheme() {
  const buttons = [...document.querySelectorAll("[data-theme-choice]")];
  const apply = (choice) => {
    if (choice === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.themeChoice === choice));
    document.querySelectorAll("canvas.swatch").forEach(repaint);
    draw();
  };
  let kept = "auto";
  try { kept = localStorage.getItem("testbed-theme") || "auto"; } catch { /* a browser may keep nothing for a page from disk */ }
  for (const button of buttons) button.addEventListener("click", () => {
    try { localStorage.setItem("testbed-theme", button.dataset.themeChoice); } catch { /* as above */ }
    apply(button.dataset.themeChoice);
  });
  apply(["light", "dark"].includes(kept) ? kept : "auto");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.querySelectorAll("canvas.swatch").forEach(repaint);
    draw();
  });
}

function jump(name) {
  const heading = byId(`${name}-heading`);
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "start" });
}

function start() {
  buildTheme();
  if (!N || !D.phases.length || !CELLS.some((phase) => phase.some((list) => list.length))) return;
  for (const name of ["matrix", "lists", "servers"]) byId(`${name}-section`).hidden = false;
  buildControls();
  listenToMatrix();
  byId("facets").addEventListener("toggle", (event) => {
    if (!event.target.open) return;
    for (const other of byId("facets").querySelectorAll("details[open]")) if (other !== event.target) other.open = false;
    showFacets();
  }, true);
  document.addEventListener("click", (event) => {
    if (!event.target.closest(".facet")) for (const open of byId("facets").querySelectorAll("details[open]")) open.open = false;
    const jumping = event.target.closest("[data-jump]");
    if (jumping) {
      if (jumping.getAttribute("href") === "#matrix-heading") event.preventDefault(); // the address is the state's
      setTimeout(() => jump(jumping.dataset.jump));
    }
    if (event.target.closest("[data-cell]")) setTimeout(() => { jump("matrix"); if (innerWidth < 900) byId("story").scrollIntoView({ block: "start" }); });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = byId("facets").querySelector("details[open]");
    if (open) {
      open.open = false;
      open.querySelector("summary").focus();
    } else if (event.target.closest("#story") && S.sender !== null) {
      go({ sender: null, receiver: null });
      grid.focus({ preventScroll: true });
    }
  });
  const follow = () => { S = read(location.hash); show(); };
  addEventListener("popstate", follow);
  addEventListener("hashchange", follow);
  S = read(location.hash);
  showBelow();
  show();
  if (S.sender !== null) (innerWidth < 900 ? byId("story") : byId("matrix-section")).scrollIntoView({ block: "start" });
}

start();
