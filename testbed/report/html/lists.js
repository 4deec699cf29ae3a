// Rule: everything below the matrix: lists of cells, what would mend them, causes, servers. Each item leads to its cell.

const MOST = 24;

/** All cells of a phase and exchange that pass the filter. */
function* cellsOf(phase) {
  for (const cell of CELLS[phase][S.exchange]) if (cell) yield cell;
}
function every(test) {
  const found = [];
  D.phases.forEach((_, phase) => { for (const cell of cellsOf(phase)) if (test(cell)) found.push(cell); });
  return found;
}
function fromTo() {
  return S.view === "change" ? [S.from, S.to] : [0, LAST];
}

const LISTS = {
  surprises: ["Surprises", "Not what the standards lead one to expect of servers so set. Read these first.", () => every((cell) => cell.row.surprise)],
  broken: ["Newly broken", "Delivered in the earlier phase, and not in the later one.", () => {
    const [from, to] = fromTo();
    return from === to ? [] : [...cellsOf(to)].filter((cell) => D.changes[changeOf(CELLS[from][S.exchange][cell.sender * N + cell.receiver], cell)] === "newly-broken");
  }],
  lost: ["Silently lost", "Neither delivered nor answered with an error, while both clients were proven alive.", () => every((cell) => cell.state === STATE.lost)],
  cleartext: [LAST > 0 ? "Still in cleartext" : "In cleartext", "Delivered in the last phase where anyone on the way can read it.", () => [...cellsOf(fromTo()[1])].filter((cell) => cell.kind === CLEARTEXT)],
  history: ["History-dependent", "The outcome depends on whether the two had talked before.", () => every((cell) => cell.row.history_dependent || cell.row.flaky)],
  disturbed: ["Disturbed", "Came out one way among all the others, and another way with just the two: third parties interfered.", () => every((cell) => cell.row.interference)],
  undecided: ["Undecided", "The testbed itself cannot say, or did not see over what it was delivered.", () => every((cell) => cell.state === STATE.inconclusive || cell.state === STATE["delivered-unseen"])],
  view: ["All in this view", "Every pair of the matrix above that passes the filter.", () => [...viewed()].map(([cell]) => cell).filter(Boolean)],
};

// Said of many cells at once the domain only repeats the role.
const inWords = (text) => restored(text, "the sender", "the receiver").replace(/(the (?:sender|receiver)), \1/g, "$1");

/** Cells with the same story told once: outcome, reason and expectation, then the pairs. What did not arrive comes first. */
function groupsOf(cells) {
  const places = ["state", "cause", "explanation", "remedy", "expected", "surprise", "history_dependent"].map((key) => D.keys.indexOf(key)).filter((n) => n >= 0);
  const found = new Map();
  for (const cell of cells) {
    const seen = cell.row.interference || {}; // who disturbed it differs from cell to cell
    const key = [...places.map((n) => D.rows[cell.row.number][n]), seen.mesh, seen.alone].join(" ");
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(cell);
  }
  const rank = { [BROKEN]: 0, [UNKNOWN]: 1, [CLEARTEXT]: 2, [UNSEEN]: 3, [TLS]: 4 };
  return [...found.values()].sort((a, b) => rank[a[0].kind] - rank[b[0].kind] || b.length - a.length);
}

function pairLink(cell) {
  const text = [h("span", { class: "num", text: number(cell.sender) }), domain(cell.sender), " → ", h("span", { class: "num", text: number(cell.receiver) }), domain(cell.receiver)];
  const seen = S.view === "change" && (cell.phase === S.from || cell.phase === S.to) ? {} : { view: "phase", phase: cell.phase };
  return stateLink({ ...seen, sender: cell.sender, receiver: cell.receiver }, { class: "pair", "data-cell": "1" }, text);
}

function groupBlock(cells) {
  const [first] = cells;
  const expected = first.row.expected || {};
  const phases = [...new Set(cells.map((cell) => cell.phase))];
  const block = h("section", { class: "group" },
    h("h3", {}, swatch("outcome", first.state, Boolean(first.row.surprise)), h("span", {}, h("b", { text: count(cells.length, "result") }), `: ${D.colourings.outcome[first.state].label}`, first.row.cause ? h("span", { class: "cause", text: ` ${first.row.cause}` }) : null)),
    h("p", { text: inWords(first.row.explanation || "") }),
    first.row.remedy ? h("p", {}, h("b", { text: "Remedy: " }), h("span", { class: "remedy", text: inWords(first.row.remedy) })) : null,
    first.row.surprise ? h("p", {}, h("b", { text: `Expected: ${expected.outcome || "?"}. ` }), h("span", { class: "note", text: inWords(expected.because || "") })) : null,
    first.row.interference ? h("p", { class: "note", text: `${first.row.interference.mesh} in the mesh, ${first.row.interference.alone} alone` }) : null,
    first.row.history_dependent ? h("p", { class: "note", text: `${first.row.history_dependent.cold} cold, ${first.row.history_dependent.warm} warm` }) : null);
  for (const phase of phases) {
    const here = cells.filter((cell) => cell.phase === phase);
    const list = h("ul", { class: "pairs" }, here.slice(0, MOST).map((cell) => h("li", {}, pairLink(cell))));
    block.append(D.phases.length > 1 ? h("h4", { text: `in '${D.phases[phase].name}' (${here.length.toLocaleString("en")})` }) : "", list);
    if (here.length > MOST) {
      const more = h("button", { type: "button", class: "button", text: `Show ${(here.length - MOST).toLocaleString("en")} more` });
      more.addEventListener("click", () => { list.append(...here.slice(MOST).map((cell) => h("li", {}, pairLink(cell)))); list.querySelectorAll("a")[MOST].focus(); more.remove(); });
      block.append(more);
    }
  }
  return block;
}

const listCache = { key: null, found: {} };
function listsNow() {
  const key = [S.exchange, S.view, S.from, S.to, S.view === "phase" ? S.phase : "", S.q, JSON.stringify(S.facets)].join("|");
  if (listCache.key !== key) {
    listCache.key = key;
    listCache.found = {};
    const passes = filtered(S) ? matcher({ ...S, facets: { ...S.facets, tone: [] } }) : null;
    const tones = S.facets.tone || [];
    for (const [name, [, , find]] of Object.entries(LISTS)) {
      const all = find();
      const before = (cell) => (S.view === "change" ? CELLS[S.from][S.exchange][cell.sender * N + cell.receiver] : undefined);
      const shown = passes ? all.filter((cell) => passes(cell, before(cell))
        && (name !== "view" || !tones.length || tones.includes(valuesOf("tone", cell, before(cell), S)[0]))) : all;
      listCache.found[name] = { all, shown };
    }
  }
  return listCache.found;
}
/** The list that is open: the one that was asked for, or the first that has something. */
function openList() {
  if (Object.hasOwn(LISTS, S.list || "")) return S.list;
  const found = listsNow();
  return Object.keys(LISTS).find((name) => found[name].shown.length) || "view";
}

let shownList = "";
function showLists() {
  const found = listsNow();
  const open = openList();
  const tabs = byId("tabs");
  if (!tabs.children.length) {
    for (const [name, [title]] of Object.entries(LISTS)) {
      tabs.append(h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": "list", "data-list": name, onclick: () => go({ list: name }) }, title, " ", h("span", { class: "n" })));
    }
    tabs.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const names = Object.keys(LISTS);
      const next = names[(names.indexOf(openList()) + step + names.length) % names.length];
      event.preventDefault();
      go({ list: next });
      byId(`tab-${next}`).focus();
    });
  }
  for (const tab of tabs.children) {
    const name = tab.dataset.list;
    const n = found[name].shown.length;
    tab.setAttribute("aria-selected", String(name === open));
    tab.tabIndex = name === open ? 0 : -1;
    tab.classList.toggle("empty", !n);
    tab.querySelector(".n").textContent = n.toLocaleString("en");
  }
  const key = `${listCache.key}|${open}`;
  const panel = byId("list");
  panel.setAttribute("aria-labelledby", `tab-${open}`);
  if (key === shownList) { // only the links change with the chosen pair
    return;
  }
  shownList = key;
  const { all, shown } = found[open];
  const groups = groupsOf(shown);
  panel.replaceChildren(...[
    h("p", { class: "note", text: LISTS[open][1] + (open === "broken" && D.phases.length > 1 ? ` Here: from '${D.phases[fromTo()[0]].name}' to '${D.phases[fromTo()[1]].name}'.` : "") }),
    shown.length < all.length ? h("p", { class: "warn" }, `The filter shows ${shown.length.toLocaleString("en")} of ${all.length.toLocaleString("en")}. `, h("button", { type: "button", class: "button", text: "Clear the filter", onclick: clearFilter })) : null,
    ...(shown.length ? groups.slice(0, 60).map(groupBlock) : [h("p", { text: "None." })]),
    groups.length > 60 ? h("p", { class: "note", text: `${groups.length - 60} more kinds of result: filter to see them.` }) : null].filter(Boolean));
}
const clearFilter = () => go({ q: "", facets: {} });

function showBelow() {
  byId("mends").replaceChildren(...D.mends.map((group, n) => {
    const counts = D.phases.map((phase, p) => [phase.name, [...cellsOf(p)].filter((cell) => cell.row.mend === n).length]).filter(([, k]) => k);
    if (!counts.length) return "";
    return h("section", { class: "group" },
      h("h3", { text: `${mendText(group)}` }),
      h("p", {}, "stand in the way of ", counts.map(([name, k], i) => [i ? ", " : "", h("b", { text: k.toLocaleString("en") }), ` in '${name}'`]).flat(), ". ",
        stateLink({ facets: { mend: [mendKey(n)] }, q: "", list: "view" }, { "data-jump": "matrix", text: "Show them" })),
      h("p", { class: "note" }, group.servers.slice(0, 12).map((server, i) => [i ? ", " : "", h("span", { class: "num", text: number(server) }), domain(server)]).flat(), group.servers.length > 12 ? ` and ${group.servers.length - 12} more` : ""),
      h("ul", {}, group.remedies.slice(0, 8).map((text) => h("li", {}, h("span", { class: "remedy", text: inWords(text) })))));
  }));
  byId("mends-section").hidden = !byId("mends").children.length;

  const causes = Object.entries(D.causes).map(([name, about]) => {
    const remedies = new Set();
    const counts = D.phases.map((phase, p) => {
      let n = 0;
      for (const cell of cellsOf(p)) if (cell.row.cause === name) { n++; if (cell.row.remedy) remedies.add(inWords(cell.row.remedy)); }
      return n;
    });
    return { name, about, counts, remedies: [...remedies], total: counts.reduce((a, b) => a + b, 0) };
  }).filter((cause) => cause.total).sort((a, b) => b.total - a.total);
  byId("causes-section").hidden = !causes.length;
  byId("causes").replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Causes" }, h("table", { class: "stack" },
    h("thead", {}, h("tr", {}, h("th", { text: "Cause" }), D.phases.map((phase) => h("th", { class: "right", text: phase.name })), h("th", { text: "What it means" }), h("th", { text: "Remedies" }))),
    h("tbody", {}, causes.map((cause) => h("tr", {},
      h("td", {}, stateLink({ by: "cause", view: "phase", phase: cause.counts.findLastIndex((n) => n), facets: { cause: [cause.name] }, q: "", list: "view" }, { "data-jump": "matrix", text: cause.name })),
      cause.counts.map((n, p) => h("td", { class: "right", "data-label": D.phases[p].name, text: n.toLocaleString("en") })),
      h("td", {}, h("div", { text: `It failed because ${cause.about.words}.` }),
        cause.about.means ? h("div", { class: "note", text: `Exactly: ${cause.about.means} (${cause.about.clause}).` }) : null),
      h("td", {}, cause.about.remedy ? h("div", { text: `In general: ${cause.about.remedy}.` }) : null,
        h("ul", {}, cause.remedies.slice(0, 8).map((text) => h("li", {}, h("span", { class: "remedy", text })))))))))));

  byId("servers").replaceChildren(h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Servers" }, h("table", {},
    h("thead", {}, h("tr", {}, ["No.", "Domain", "Software", "Version"].map((text) => h("th", { text })), D.phases.map((phase) => h("th", { text: `in '${phase.name}'` })))),
    h("tbody", {}, D.servers.map((server, n) => h("tr", {},
      h("td", { class: "right", text: number(n) }), h("td", {}, domain(n)), h("td", { text: server.implementation }), h("td", { text: server.version || "not known" }),
      D.phases.map((phase) => h("td", {}, h("b", { text: phase.settings[n].policy }), ` · ${phase.settings[n].certificate}`, phase.settings[n].unsupported ? h("div", { class: "warn", text: phase.settings[n].unsupported }) : null, server.unavailable ? h("div", { class: "warn", text: server.unavailable }) : null))))))),
    h("h3", { text: "What the policies mean" }),
    h("dl", { class: "facts" }, [...new Map(D.phases.flatMap((phase) => phase.settings.map((s) => [s.policy, s.meaning])))].filter(([, meaning]) => meaning)
      .map(([policy, meaning]) => h("div", {}, h("dt", { text: policy }), h("dd", { text: meaning })))),
    D.servers.some((server) => server.mine) ? h("p", { class: "note", text: "★: a server of yours." }) : "");
}
