// Rule: what is known of one pair, in every phase: the panel beside the matrix. And what stands there while none is chosen.

/** A word of the shell: as it is if that is safe, else in single quotes. What a run is called is not to be trusted. */
const shell = (word) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word) && !word.startsWith("-") ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** How the run is named on the command line: by its id where it lies in `results/`, else by the folder of this page. */
function runName() {
  const parts = decodeURIComponent(location.pathname).split("/");
  const folder = parts.slice(0, -2);
  if (location.protocol !== "file:" || parts.at(-2) !== "derived") return D.run || "latest";
  return folder.at(-1) === D.run && folder.at(-2) === "results" ? D.run : folder.join("/");
}

function command(...words) {
  const text = words.map(shell).join(" ");
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}`, text: "Copy" });
  const code = h("code", { tabindex: "0", text });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // a page from disk may not always write to the clipboard
      button.textContent = "Selected: press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });
  return h("div", { class: "command" }, code, button);
}

/** A file of the run, as a link from this page; nothing that would climb out of the run's folder. */
function file(path, text) {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) return h("span", { text: text || path });
  return h("a", { href: "../" + parts.map(encodeURIComponent).join("/"), text: text || path });
}

const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
  .map(([name, value]) => h("div", {}, h("dt", { text: name }), h("dd", {}, value))));

function side(role, server, phase) {
  const about = D.servers[server];
  const settings = D.phases[phase].settings[server];
  return h("div", { class: "side" },
    h("b", { text: role }), " ", h("span", { text: `${about.implementation} ${about.version || "(version not known)"}` }),
    about.mine ? " ★ yours" : "",
    h("div", {}, "policy ", h("b", { text: settings.policy }), settings.meaning ? h("span", { class: "note", text: ` (${settings.meaning})` }) : null),
    h("div", {}, "certificate ", h("b", { text: settings.certificate })),
    settings.unsupported ? h("div", { class: "warn", text: `cannot be set so: ${settings.unsupported}` }) : null,
    about.unavailable ? h("div", { class: "warn", text: `unavailable: ${about.unavailable}` }) : null);
}

const FAULT_WORDS = { sender: "the sender's server", receiver: "the receiver's server", both: "both servers", network: "the network", testbed: "the testbed itself" };

function phaseCard(sender, receiver, phase, open) {
  const cell = CELLS[phase][S.exchange][sender * N + receiver];
  const name = D.phases[phase].name;
  const title = h("summary", {}, swatch("outcome", cell ? cell.state : STATE.missing, Boolean(cell && cell.row.surprise)),
    h("span", {}, h("b", { text: `In '${name}': ` }), D.colourings.outcome[cell ? cell.state : STATE.missing].label),
    cell && cell.row.surprise ? h("span", { class: "badge", text: "surprise" }) : null);
  if (!cell) return h("details", { class: "card", open }, title, h("p", { text: "The record has no such cell." }), side("Sender", sender, phase), side("Receiver", receiver, phase));
  const row = cell.row;
  const channel = cell.get("channel") || {};
  const expected = cell.get("expected") || {};
  const over = [
    { tls: channel.tls_version || "TLS", cleartext: "cleartext: the body was read on the wire" }[channel.encryption] || null,
    channel.cipher,
    channel.forward_secrecy === true ? "forward secrecy" : channel.forward_secrecy === false ? "no forward secrecy" : null,
    { external: "sender proven by its certificate", dialback: "sender proven by dialback", none: "sender not proven" }[channel.authentication] || null,
  ].filter(Boolean).join(" · ");
  const notes = [];
  const outcome = (word) => h("b", { text: String(word) });
  const history = cell.get("history_dependent");
  if (history) notes.push(h("p", { class: "warn" }, "Depends on history: ", outcome(history.cold), " if the two had not talked before, ", outcome(history.warm), " if they had. The verdict is the former."));
  const flaky = cell.get("flaky");
  if (flaky) notes.push(h("p", { class: "warn" }, "Attempts of one kind disagreed: ", outcome([].concat(flaky).join(", ")), "."));
  const seen = cell.get("interference");
  if (seen) {
    notes.push(h("p", { class: "warn" }, "Disturbed by third parties: ", outcome(seen.mesh), " in the mesh, ", outcome(seen.alone), " with just the two. The verdict is the latter."));
    const by = (seen.by || []).map((one) => h("li", {}, h("bdi", { text: one.sender }), " → ", h("bdi", { text: one.receiver }), one.because ? `: ${one.because}` : ""));
    if (by.length) notes.push(h("ul", {}, by));
  }
  const storms = (D.storms || []).filter((one) => one.phase === name && [[sender, receiver], [receiver, sender]]
    .some(([a, b]) => one.sender === D.servers[a].domain && one.receiver === D.servers[b].domain));
  const cutOff = storms.reduce((sum, one) => sum + one.cut, 0);
  if (cutOff) notes.push(h("p", { class: "note", text: `${count(cutOff, "connection attempt")} without a pause between the two were cut by the testbed.` }));
  const confirmed = { true: "yes: a second look agreed", false: "no: it was measured once" }[String(row.confirmed)];
  const lines = cell.lines;
  const evidence = h("div", { class: "evidence" },
    lines.length ? h("div", {}, file("observations.jsonl", "observations.jsonl"), ` ${lines.length === 1 ? "line" : "lines"} ${lines.join(", ")}`) : null,
    (cell.get("evidence") || []).map((path) => h("div", {}, file(path))),
    [sender, receiver].map((server) => h("div", {}, file(`evidence/${name}/config/${D.servers[server].domain}`, `configuration of ${D.servers[server].domain}`))),
    h("div", {}, file(`evidence/${name}/s2s.pcapng.gz`, "capture of this phase"), " (opens in Wireshark)"));
  return h("details", { class: "card", open }, title,
    h("p", { class: "say", text: cell.get("explanation") || "" }),
    notes,
    facts([
      ["Over", over],
      ["Cause", row.cause ? h("span", {}, h("b", { text: row.cause }), `: ${(D.causes[row.cause] || {}).words || ""}`, row.cause_from ? h("span", { class: "note", text: ` (named by: ${row.cause_from})` }) : null) : null],
      ["To mend", row.fault ? FAULT_WORDS[row.fault] || row.fault : cell.kind === BROKEN ? "no side's setting is known to be wrong: both are within the standards, or the reason is not known" : null],
      ["Remedy", cell.get("remedy") ? h("span", { class: "remedy", text: cell.get("remedy") }) : null],
      ["Expected", h("span", {}, h("b", { text: [expected.outcome, expected.outcome === "delivered" ? expected.encryption : expected.cause].filter(Boolean).join(", ") }), expected.because ? `: ${expected.because}` : "", row.surprise ? h("b", { class: "warn", text: " Not what came: a surprise." }) : "")],
      ["Confirmed", confirmed],
      ["Took", cell.seconds === null ? null : `${cell.seconds.toLocaleString("en", { maximumFractionDigits: 3 })} s until the answer`],
      ["Attempts", row.attempts === undefined || row.attempts === null ? null : String(row.attempts)],
      ["Evidence", evidence],
    ]),
    h("div", { class: "sides" }, side("Sender", sender, phase), side("Receiver", receiver, phase)));
}

function storyOf(sender, receiver) {
  const [a, b] = [D.servers[sender].domain, D.servers[receiver].domain];
  const phases = D.phases.map((_, n) => n);
  const shown = shownPhase();
  const back = CELLS[shown][S.exchange][receiver * N + sender];
  const parts = [
    h("div", { class: "bar" },
      back ? stateLink({ sender: receiver, receiver: sender }, { class: "button back" }, "⇄ The way back: ", swatch("outcome", back.state, Boolean(back.row.surprise)),
        h("span", { text: back.kind === BROKEN ? back.row.cause || "failed" : D.colourings.outcome[back.state].label })) : null,
      h("button", { type: "button", class: "button", text: "✕ Close", onclick: () => { go({ sender: null, receiver: null }); grid.focus({ preventScroll: true }); } })),
    h("h3", { id: "story-heading", tabindex: "-1" }, h("span", { class: "num", text: number(sender) }), " ", domain(sender), h("span", { class: "arrow", text: " → " }),
      h("span", { class: "num", text: number(receiver) }), " ", domain(receiver)),
  ];
  if (S.view === "change") {
    const at = sender * N + receiver;
    const change = changeOf(CELLS[S.from][S.exchange][at], CELLS[S.to][S.exchange][at]);
    parts.push(h("p", { class: "change" }, swatch("change", change),
      h("span", {}, `From '${D.phases[S.from].name}' to '${D.phases[S.to].name}': `, h("b", { text: D.colourings.change[change].label }))));
  }
  const order = [shown, ...phases.filter((n) => n !== shown)];
  parts.push(...order.map((phase) => phaseCard(sender, receiver, phase, phase === shown || (S.view === "change" && phase === S.from && D.phases.length <= 2))));
  parts.push(h("h4", { text: "What everybody saw, in time order" }), command(".venv/bin/testbed", "explain", runName(), a, b),
    h("h4", { text: "Measure this pair again, alone" }), command(".venv/bin/testbed", "rerun", runName(), a, b));
  return parts;
}

/** While no pair is chosen: why cells of this view failed, each reason leading to its cells. */
function summaryOfView() {
  const phase = D.phases[shownPhase()].name;
  const broken = [];
  let open = 0;
  for (const [cell, before] of viewed()) {
    if (!cell || cell.kind === UNKNOWN || (S.view === "change" && D.changes[changeOf(before, cell)] === "cannot-say")) open++;
    if (!cell || cell.kind !== BROKEN) continue;
    if (S.view === "change" && D.changes[changeOf(before, cell)] !== "newly-broken") continue;
    broken.push(cell);
  }
  const tally = (key) => [...broken.reduce((map, cell) => map.set(key(cell), (map.get(key(cell)) || 0) + 1), new Map())].sort((x, y) => y[1] - x[1]);
  const title = S.view === "change" ? "Why pairs broke" : `Why pairs failed in '${phase}'`;
  if (!broken.length) return [h("h3", { text: open ? `Nothing is known to have ${S.view === "change" ? "broken" : "failed"}` : S.view === "change" ? "Nothing broke" : "Nothing failed" }), h("p", { class: "note", text: "Choose a square for its story." })];
  const mark = S.view === "change" ? { mark: ["newly-broken"] } : {};
  const bar = (n) => h("meter", { min: "0", max: String(broken.length), value: String(n), "aria-hidden": "true" });
  const causes = tally((cell) => cell.row.cause || "").map(([cause, n]) => h("li", {},
    stateLink({ by: "cause", facets: { ...mark, cause: [cause] }, q: "", list: "view" }, {},
      h("b", { text: n.toLocaleString("en") }), " ", cause ? (D.causes[cause] || {}).words || cause : "no reason could be found"), bar(n)));
  const mends = tally((cell) => (cell.row.mend === undefined ? null : cell.row.mend)).map(([group, n]) => h("li", {},
    stateLink({ facets: { ...mark, mend: [group === null ? "" : mendKey(group)] }, q: "", list: "view" }, {},
      h("b", { text: n.toLocaleString("en") }), " ", group === null ? "nobody's setting alone" : mendText(D.mends[group])), bar(n)));
  return [h("h3", { text: title }), h("ul", { class: "reasons" }, causes),
    h("h3", { text: "What would mend them" }), h("ul", { class: "reasons" }, mends),
    h("p", { class: "note", text: "Choose a reason to see its pairs, or a square for its story." })];
}
const mendText = (group) => `${count(group.servers.length, "server")} ${group.attribute === "policy" ? "set to" : "with the certificate"} '${group.label}'`;

function showStory() {
  const panel = byId("story");
  if (!D.phases.length) return;
  const chosen = S.sender !== null && planned(S.exchange, S.sender * N + S.receiver);
  panel.replaceChildren(...(chosen ? storyOf(S.sender, S.receiver) : summaryOfView()));
  panel.classList.toggle("chosen", chosen);
  if (chosen && followStory) {
    byId("story-heading").focus({ preventScroll: true });
    if (innerWidth < 900) panel.scrollIntoView({ block: "start" });
  }
  followStory = false;
}
