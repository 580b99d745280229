/** Joins the gallery to a node on the page: its state, the board's files, what is chosen, the preview. */

import { LEFT } from "../common/run.js"
import { hide, write } from "../common/widgets.js"
import { Gallery } from "./gallery.js"
import { inHistory } from "./history.js"
import { preview } from "./preview.js"
import { emptyState, forRun, isPicked, isPinned, newId, parse, serialise, withPick, withPin, without } from "./state.js"
import { statusOf, stepText } from "./status.js"
import { passToGraph } from "./through.js"

const MIN_HEIGHT = 330
const WIDTH = 500
const LATER = [0, 100, 500] // ms after which a loaded workflow's nodes are there

const named = (node, name) => node.widgets?.find(widget => widget.name === name)

/** Give a node its board. `page` holds {app, api, text, boards, open}, the last a WeakMap of nodes. */
export function addBoard(page, node) {
  const widget = named(node, "board")
  if (!widget || !node.addDOMWidget) return
  hide(widget)
  const board = new Board(page, node, widget)
  page.open.set(node, board)
  widget.beforeQueued = () => board.name()
  widget.serializeValue = () => board.forRun()
  follow(node, "onExecuted", output => board.heard(output?.vivid_board?.[0]))
  follow(node, "onConfigure", () => board.refresh())
  follow(node, "onRemoved", () => board.close())
  const hold = named(node, "hold")
  if (hold) follow(hold, "callback", () => board.render())
  node.setSize?.([Math.max(node.size[0], WIDTH), node.computeSize()[1]])
}

/** Have `heard` called after a method of an object. */
function follow(object, method, heard) {
  const before = object[method]
  object[method] = function (...given) {
    const answer = before?.apply(this, given)
    heard(...given)
    return answer
  }
}

class Board {
  constructor(page, node, widget) {
    Object.assign(this, { page, node, widget, text: page.text, closing: new AbortController(), drawing: 0 })
    Object.assign(this, { chosen: null, filter: null, asked: null, note: null, step: "", work: null, said: "", film: null, revealed: null, told: "" })
    const does = name => value => this.act(name, value)
    const actions = Object.fromEntries(Object.keys(ACTIONS).map(name => [name, does(name)]))
    this.gallery = new Gallery(this.text, actions, name => page.boards.urlOf(this.state.id, name), this.closing.signal)
    passToGraph(page.app, this.gallery, this.closing.signal)
    const options = { serialize: false, hideOnZoom: false, getMinHeight: () => MIN_HEIGHT }
    const shown = node.addDOMWidget("gallery", "vivid_board", this.gallery.element, options)
    shown.serialize = false
    page.boards.addEventListener("change", ({ detail }) => detail === this.state.id && this.render(), {
      signal: this.closing.signal,
    })
    this.refresh()
  }

  get state() {
    return this.read().state
  }

  /** The state in the widget, and as `problem` why it can't be read. */
  read() {
    const text = String(this.widget.value ?? "")
    if (this.lastRead?.text !== text) {
      try {
        this.lastRead = { text, state: parse(text), problem: null }
      } catch (fault) {
        this.lastRead = { text, state: emptyState(), problem: fault.reason ?? "unreadable" }
      }
    }
    return this.lastRead
  }

  save(state) {
    const text = serialise(state)
    if (text !== this.widget.value) write(this.page.app, this.node, this.widget, text)
    this.render()
  }

  /** The state as a run gets it; a text that can't be read goes as it is, and the node says what is wrong. */
  forRun() {
    const { state, problem } = this.read()
    return problem ? this.widget.value : forRun(state)
  }

  /** A board that is about to run for the first time gets its id. */
  name() {
    const { state, problem } = this.read()
    if (state.id || problem) return
    const text = serialise({ ...state, id: newId() })
    inHistory(this.page.app, this.node, this.widget, text)
    this.save(parse(text))
  }

  /** What the node tells when it has run; when nothing has changed the server tells the same again, old as it is. */
  heard(told) {
    if (!told) return
    const { state, problem } = this.read()
    if (!state.id && !problem) this.save({ ...state, id: told.id }) // it ran without the page's Run button
    const text = JSON.stringify(told)
    if (text !== this.told) this.take(told)
    this.told = text
    this.page.boards.load(told.id)
    this.render()
  }

  take(told) {
    Object.assign(this, { note: null, film: null, said: String(told.said ?? "") })
    if (told.added) Object.assign(this, { chosen: told.added, asked: null, revealed: told.added })
    const added = told.candidates?.find(candidate => candidate.name === told.added)
    if (added && this.filter !== null && this.filter !== added.frame) this.filter = null
    this.page.boards.keep(told)
  }

  /** The state has come from somewhere else, such as a loaded workflow: look again at the board's folder. */
  refresh() {
    Object.assign(this, { note: null, film: null, asked: null })
    this.page.boards.load(this.state.id)
    this.render()
  }

  /** Everything that the gallery shows. */
  look() {
    const { state, problem } = this.read()
    const known = this.page.boards.of(state.id)
    const candidates = known?.candidates ?? []
    const frames = [...new Set(candidates.map(candidate => candidate.frame))].sort((a, b) => a - b)
    if (this.filter !== null && !frames.includes(this.filter)) this.filter = null
    const shown = candidates.filter(({ frame }) => this.filter === null || frame === this.filter)
    const selected =
      shown.find(({ name }) => name === this.chosen) ?? shown.find(({ name }) => isPicked(state, name)) ?? shown[0]
    const there = name => candidates.some(candidate => candidate.name === name)
    const lost = ([, name]) => !there(name)
    const missing = known ? Object.entries(state.picks).filter(lost) : []
    const board = {
      ...{ state, problem, candidates, frames, shown, several: frames.length > 1, filter: this.filter },
      selected: selected ?? null,
      missing: missing.map(([frame, name]) => ({ frame, name })),
      holding: Boolean(named(this.node, "hold")?.value),
      asked: Boolean(selected) && this.asked === selected.name,
      working: Boolean(this.work),
      ...{ note: this.note, step: this.step, said: this.said, film: this.film },
    }
    return { ...board, status: statusOf(board, this.text) }
  }

  render() {
    if (!this.drawing && !this.closing.signal.aborted)
      this.drawing = requestAnimationFrame(() => {
        this.drawing = 0
        this.gallery.render(this.look())
        if (this.revealed) this.gallery.tries.reveal(this.revealed)
        this.revealed = null
      })
  }

  candidate(name) {
    return this.look().candidates.find(candidate => candidate.name === name)
  }

  act(name, value) {
    if (name !== "stop") Object.assign(this, { note: null, film: null })
    if (!["ask", "remove"].includes(name)) this.asked = null
    ACTIONS[name].call(this, value)
    this.render()
  }

  async remove(name) {
    const { id } = this.state
    this.asked = null
    try {
      await this.page.boards.remove(id, name)
      this.save(without(this.state, name))
    } catch (fault) {
      this.note = { kind: "warn", text: fault.message }
      this.render()
    }
  }

  async preview(name) {
    const candidate = this.candidate(name)
    if (this.work || !candidate) return
    this.work = new AbortController()
    const told = step => {
      if (step.kind !== "output") this.step = stepText(this.text, step)
      this.render()
    }
    try {
      told({ kind: "queued" })
      const state = withPick(this.state, candidate.frame, candidate.name)
      const { titles, film } = await preview(this.page, this.node, serialise(state), told, this.work.signal)
      this.note = { kind: "ok", text: this.text("previewDone", titles.join(", ")), does: film && { name: "still" } }
      Object.assign(this, { chosen: name, film })
    } catch (fault) {
      this.note =
        fault.name === "AbortError" ? { kind: "none", text: this.text("stopped") } : { kind: "warn", text: fault.message }
    } finally {
      Object.assign(this, { work: null, step: "" })
      this.render()
    }
  }

  close() {
    this.work?.abort(LEFT) // the run goes on: its result is shown by other nodes
    cancelAnimationFrame(this.drawing)
    this.closing.abort()
    LATER.forEach(wait => setTimeout(() => this.handOver(), wait))
  }

  /** In the new rendering a node that is loaded anew, as by undo, still shows the gallery of the one that went. */
  handOver() {
    const { element } = this.gallery
    const heir = this.page.open.get(this.page.app.canvas?.graph?.getNodeById(this.node.id))
    if (element.isConnected && heir) element.replaceWith(heir.gallery.element)
  }
}

/** What a user can do, each on a Board as `this`. */
const ACTIONS = {
  select(name) {
    this.chosen = name
  },
  filter(frame) {
    this.filter = frame
  },
  use(name) {
    const { frame } = this.candidate(name)
    this.chosen = name
    this.save(withPick(this.state, frame, isPicked(this.state, name) ? null : name))
  },
  unpick(frame) {
    this.save(withPick(this.state, frame, null))
  },
  pin(name) {
    this.save(withPin(this.state, name, !isPinned(this.state, name)))
  },
  ask(name) {
    Object.assign(this, { chosen: name, asked: name })
  },
  keep() {},
  still() {},
  remove(name) {
    this.remove(name)
  },
  preview(name) {
    this.preview(name)
  },
  stop() {
    this.work?.abort()
  },
  /** A new board in place of a state that can't be read; that is kept inside the new one. */
  anew() {
    this.save({ ...emptyState(), id: newId(), unread: String(this.widget.value) })
  },
  release() {
    const hold = named(this.node, "hold")
    write(this.page.app, this.node, hold, false)
  },
}
