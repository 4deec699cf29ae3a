// Rule: the data that Python embeds: what each record holds, and how cells are read out of their lists. It knows no page.
// @ts-check

/**
 * The whole of what report/html.py embeds. A test holds that these records and the embedded ones have the same keys.
 * @typedef {object} Run
 * @property {string | null} run the run's id
 * @property {boolean} complete whether the record has its closing line
 * @property {Storm[]} storms
 * @property {Failure[]} failed servers that failed, one entry for each time
 * @property {Server[]} servers
 * @property {Phase[]} phases
 * @property {string[]} exchanges
 * @property {string[]} keys the fields of a row
 * @property {any[]} values what the fields of rows hold, each once
 * @property {number[][]} rows per row the number of a value for each key
 * @property {number[][][]} cells per phase and exchange: sender, receiver, row, milliseconds, number of lines, lines; and so on
 * @property {string[]} states
 * @property {string[]} kinds
 * @property {number[]} kind_of_state
 * @property {string[]} changes
 * @property {number[][]} change the change from one kind to another, as a number of `changes`
 * @property {Record<string, Tone[]>} colourings
 * @property {Record<string, Cause>} causes
 * @property {Mend[]} mends
 * @property {Words} words
 */
/**
 * @typedef {object} Failure
 * @property {string} phase
 * @property {string} domain
 * @property {string} text the sentence about it
 */
/**
 * @typedef {object} Server
 * @property {string} domain
 * @property {number} number as in every report
 * @property {string} implementation
 * @property {string | null} title
 * @property {string | null} version
 * @property {string | null} unavailable why it did not run
 * @property {boolean} mine whether the user brought it
 */
/**
 * @typedef {object} Phase
 * @property {string} name
 * @property {Settings[]} settings one per server
 */
/**
 * @typedef {object} Settings
 * @property {string} policy
 * @property {string} certificate
 * @property {string} meaning the policy in plain words
 * @property {string | null} unsupported why the server cannot be set so
 */
/**
 * One value of a colouring.
 * @typedef {object} Tone
 * @property {string} key
 * @property {string} label
 * @property {string} fill
 * @property {string} ink
 * @property {string} mark
 * @property {number} size the mark's size as a share of the square
 * @property {[string, string] | null} dark fill and ink on a dark page, where they differ
 */
/**
 * @typedef {object} Cause
 * @property {string} words completes "it failed because"
 * @property {string} [means]
 * @property {string} [clause]
 * @property {string} [remedy]
 * @property {boolean} [failed] whether its cells failed; else they are undecided
 * @property {boolean} [gathered] whether its cells are one story, although each has numbers of its own
 * @property {string} [place] where to mend it, if that is neither server
 */
/**
 * Failures that one kind of change would mend.
 * @typedef {object} Mend
 * @property {"policy" | "certificate"} attribute
 * @property {string} label
 * @property {number[]} servers
 * @property {string[]} remedies
 */
/**
 * Connection attempts without a pause that the testbed cut.
 * @typedef {object} Storm
 * @property {string} phase
 * @property {string} sender
 * @property {string} receiver
 * @property {number} cut
 */
/**
 * What Python calls things: key of the page's address -> words.
 * @typedef {object} Words
 * @property {Record<string, string>} facets
 * @property {Record<string, string>} marks
 * @property {Record<string, string>} orders
 * @property {Record<string, string>} colourings
 * @property {Record<string, [string, string]>} lists title, and what the list holds
 * @property {Record<string, string>} faults
 * @property {string} no_fault
 * @property {string} no_cause
 * @property {string} unknown_cause
 */
/**
 * What cells that agree share. Any key of a cell in verdicts.json is here; these are read.
 * @typedef {object} Row
 * @property {number} number
 * @property {number} state
 * @property {string | null} cause
 * @property {string | null} cause_from
 * @property {string | null} explanation
 * @property {string | null} remedy
 * @property {string | null} fault
 * @property {boolean} surprise
 * @property {boolean | null} [confirmed]
 * @property {number | null} [attempts]
 * @property {Channel | null} channel
 * @property {Expectation | null} expected
 * @property {{cold: string, warm: string} | null} [history_dependent]
 * @property {string | string[] | null} [flaky]
 * @property {{cold?: number[], warm?: number[]} | null} [shares] of each, how many delivered, and of how many
 * @property {string | null} share the same in words
 * @property {Interference | null} [interference]
 * @property {string[]} evidence files of the run
 * @property {number | null} mend a number of `mends`
 */
/**
 * @typedef {object} Channel
 * @property {string | null} encryption
 * @property {string | null} authentication
 * @property {string | null} [tls_version]
 * @property {string | null} [cipher]
 * @property {boolean | null} [forward_secrecy]
 */
/**
 * @typedef {object} Expectation
 * @property {string} outcome
 * @property {string} [because]
 * @property {string | null} [encryption]
 * @property {string | null} [cause]
 * @property {Expectation[]} [alternatives] what is as expected too, where the standards leave it open
 */
/**
 * @typedef {object} Interference
 * @property {string} mesh outcome among all servers
 * @property {string} alone outcome with just the two
 * @property {{sender: string, receiver: string, because?: string}[]} [by]
 */

/** @type {Run} */
const run = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent || "");
const SERVERS = run.servers.length;
const LAST_PHASE = run.phases.length - 1;

/** @type {(names: string[]) => Record<string, number>} */
const numbered = (names) => Object.fromEntries(names.map((name, number) => [name, number]));
const STATE = numbered(run.states);
const KIND = numbered(run.kinds);
const CHANGE = numbered(run.changes);

/** Rows, each made only when it is asked for. @type {Row[]} */
const madeRows = new Array(run.rows.length);
/** @type {(number: number) => Row} */
function rowOf(number) {
  if (!madeRows[number]) {
    const fields = run.keys.map((key, place) => [key, run.values[run.rows[number][place]]]);
    madeRows[number] = { ...Object.fromEntries(fields), number };
  }
  return madeRows[number];
}

/** One cell: where it is, and its row. `at` is where its own numbers begin in its list. */
class Cell {
  /** @param {number} phase @param {number} exchange @param {number[]} list @param {number} at */
  constructor(phase, exchange, list, at) {
    this.phase = phase;
    this.exchange = exchange;
    this.list = list;
    this.at = at;
  }
  get sender() { return this.list[this.at]; }
  get receiver() { return this.list[this.at + 1]; }
  /** Its place among the cells of its phase and exchange. */
  get place() { return this.sender * SERVERS + this.receiver; }
  get row() { return rowOf(this.list[this.at + 2]); }
  get state() { return this.row.state; }
  get seconds() { return this.list[this.at + 3] < 0 ? null : this.list[this.at + 3] / 1000; }
  /** Lines of the record. */
  get lines() { return this.list.slice(this.at + 5, this.at + 5 + this.list[this.at + 4]); }
  get kind() { return run.kind_of_state[this.state]; }
  get broken() { return this.kind === KIND.broken; }
  /** Its row with the two domains put back. @returns {Row} */
  get whole() { return named(this.row, run.servers[this.sender].domain, run.servers[this.receiver].domain); }
}

/** A value of a row in which the two servers have names. @type {(value: any, sender: string, receiver: string) => any} */
function named(value, sender, receiver) {
  if (typeof value === "string") {
    return value.includes("\ue000") || value.includes("\ue001")
      ? value.split("\ue000").join(sender).split("\ue001").join(receiver) : value;
  }
  if (Array.isArray(value)) return value.map((each) => named(each, sender, receiver));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, named(each, sender, receiver)]));
  }
  return value;
}

/** CELLS[phase][exchange][sender * SERVERS + receiver]. @type {(Cell | undefined)[][][]} */
const CELLS = run.cells.map((exchanges, phase) => exchanges.map((list, exchange) => {
  const cells = new Array(SERVERS * SERVERS);
  for (let at = 0; at < list.length; at += 5 + list[at + 4]) {
    cells[list[at] * SERVERS + list[at + 1]] = new Cell(phase, exchange, list, at);
  }
  return cells;
}));

/** Whether any phase has a cell for the pair: others were not planned. @type {(exchange: number, place: number) => boolean} */
function planned(exchange, place) {
  return !run.complete || CELLS.some((phase) => phase[exchange][place]);
}

/** What became of a pair between two phases, as a number of `changes`. @type {(before?: Cell, after?: Cell) => number} */
function changeBetween(before, after) {
  return run.change[before ? before.kind : KIND.unknown][after ? after.kind : KIND.unknown];
}
