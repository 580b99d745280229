/** The window: puts stage, tools, panel and timeline together, waits for the clip, saves, runs and closes. */

import { Pictures } from "./clip.js"
import { Editor } from "./editor.js"
import { readTrack } from "./health.js"
import { commandOf, takesKey } from "./keys.js"
import { LEFT } from "../common/run.js"
import { Stage } from "./stage.js"
import { emptyDocument, parse } from "./state.js"
import { windowOf } from "./window.js"

export const isOpen = () => Boolean(document.querySelector("dialog.vivid-mark"))

/**
 * Open the editor over the page; resolves when it is closed.
 * @param {object} host what it is opened on:
 *   text(key, ...values), title, marks (the saved text), save(text),
 *   clip(told, signal) -> the clip, pictureUrl(clip, index), track(clip) -> its last track's file or null,
 *   run(told, signal) -> {clip, track}, watch(listener, signal): tracks that arrive while it is open
 */
export async function openEditor(host) {
  const [editor, problem] = started(host.marks)
  const closing = new AbortController()
  const session = new Session(host, editor, closing.signal)
  const closed = new Promise(resolve => (session.closed = resolve))
  document.body.append(session.window)
  session.window.showModal()
  session.stage.element.focus()
  if (problem) session.around.tell({ kind: "problem", text: host.text(problem) })
  session.load()
  await closed
  closing.abort()
  session.pictures?.close()
  session.window.remove()
}

/** What cannot be read is kept as it is inside the new document, so that saving loses nothing. */
function started(marks) {
  try {
    return [new Editor(parse(marks), marks), null]
  } catch (fault) {
    return [new Editor({ ...emptyDocument(), unread: marks }, marks), fault.reason ?? "unreadable"]
  }
}

class Session {
  constructor(host, editor, signal) {
    Object.assign(this, { host, editor, signal, text: host.text, pictures: null, work: null, renewed: false, asked: 0 })
    this.stage = new Stage(editor, index => this.pictures?.at(index) ?? null, host.text, signal)
    const actions = {
      save: () => this.save(),
      keep: () => this.keep(),
      close: () => this.close(),
      run: () => this.run(),
      play: () => editor.set({ playing: !editor.playing }),
      retry: () => this.load(),
      cancel: () => this.work?.abort(),
    }
    this.around = windowOf(host, editor, this.stage, actions, index => Boolean(this.pictures?.at(index)), signal)
    this.window = this.around.window
    this.listen(actions)
    editor.addEventListener("change", () => this.around.render(), { signal })
    host.watch(file => this.latest(file), signal)
  }

  /** Nothing that is pressed, typed or pasted here may reach the graph behind. */
  listen(actions) {
    const { window: element, signal, stage } = this
    const on = (name, handler) => element.addEventListener(name, handler, { signal })
    for (const name of ["keyup", "keypress", "copy", "cut", "paste", "wheel", "contextmenu", "dragover", "drop"])
      on(name, event => event.stopPropagation())
    on("keydown", event => this.key(event, actions))
    on("keyup", event => event.key === " " && stage.holdSpace(false))
    on("cancel", event => {
      event.preventDefault()
      this.close()
    })
    on("close", () => this.closed && element.isConnected && !this.done && element.showModal())
    on("click", event => {
      // After a click with the mouse, Enter and Space shall mean the stage again and not press the button once more.
      if (event.detail > 0 && event.target.closest("button") && !this.around.asking)
        stage.element.focus({ preventScroll: true })
    })
    // A run for the frames alone is of no use any more; one for the mask goes on, and its mask is kept.
    signal.addEventListener("abort", () => this.work?.abort(this.kind === "running" ? LEFT : undefined))
  }

  key(event, actions) {
    event.stopPropagation()
    if (this.around.asking || event.isComposing) {
      if (event.key === "Escape") {
        event.preventDefault()
        this.around.stopAsking()
      }
      return
    }
    const typing = event.target instanceof HTMLInputElement && ["text", "number"].includes(event.target.type)
    if (typing && ["Enter", "Escape"].includes(event.key)) {
      event.preventDefault()
      return this.stage.element.focus() // the field's change is taken over when it loses the focus
    }
    if (takesKey(event.target, event.key) && !(event.ctrlKey && event.key === "Enter")) return
    const command = commandOf(event, { editor: this.editor, stage: this.stage, actions })
    if (!command) return
    event.preventDefault()
    if (!event.repeat || event.key.startsWith("Arrow") || event.key.startsWith("Page")) command()
  }

  /** Have the clip's pictures; runs the graph up to the node when they are not known. */
  async load() {
    await this.working("waiting", async (told, signal) => this.showClip(await this.host.clip(told, signal)))
    const { clip } = this.editor
    if (clip && !this.done) await this.latest(this.host.track(clip)) // marking need not wait for it
  }

  /** Do something that takes a while, one thing at a time; what goes wrong is told in a sentence. */
  async working(kind, task) {
    if (this.work) return
    const work = new AbortController()
    Object.assign(this, { work, kind })
    const told = step => this.around.tell({ kind, ...step })
    try {
      told({ kind, step: "queued" })
      await task(step => told({ step: step.kind, name: step.name, part: step.part }), work.signal)
      this.around.tell(null)
    } catch (fault) {
      if (this.done) return
      const text = fault.name === "AbortError" ? this.text("stopped") : fault.message
      this.around.tell({ kind: kind === "waiting" ? "failed" : "note", text })
    } finally {
      this.work = null
      this.around.render()
    }
  }

  showClip(clip) {
    if (this.done) return
    const { editor, host } = this
    this.pictures?.close()
    this.pictures = new Pictures(
      index => host.pictureUrl(clip, index),
      clip.frames,
      () => this.stage.redraw(),
      () => this.renew(),
    )
    const first = editor.clip ? editor.frame : (editor.doc.marks[0]?.frame ?? 0)
    editor.set({ clip, frame: Math.min(first, clip.frames - 1), track: null })
    this.stage.fit()
  }

  /** The server keeps few clips: when this one is gone it is written again, once. */
  async renew() {
    if (this.renewed) return this.around.tell({ kind: "failed", text: this.text("picturesLost") })
    this.renewed = true
    this.host.forget()
    await this.load()
  }

  /** Show a track when it is there, unless a newer one has been asked for since. */
  async latest(asked) {
    const turn = ++this.asked
    const found = await asked.catch(() => null)
    if (turn === this.asked) this.show(found)
  }

  /** Lay a track over the frames, if it is this clip's. */
  show(found) {
    const { editor } = this
    if (this.done || !found || !editor.clip || found.digest !== editor.clip.digest) return
    editor.set({ track: readTrack(found.content, found.digest) })
  }

  async run() {
    if (this.work || !this.editor.clip) return
    this.keep()
    await this.working("running", async (told, signal) => {
      const { clip, track } = await this.host.run(told, signal)
      if (clip && clip.digest !== this.editor.clip.digest) this.showClip(clip)
      this.editor.set({ stale: this.editor.unsaved })
      this.show(track)
    })
  }

  keep() {
    if (document.activeElement instanceof HTMLInputElement) this.stage.element.focus()
    if (this.editor.unsaved) this.host.save(this.editor.save())
  }

  save() {
    this.keep()
    this.end()
  }

  async close() {
    if (document.activeElement instanceof HTMLInputElement) this.stage.element.focus()
    if (!this.editor.unsaved) return this.end()
    const answer = await this.around.ask(this.text("unsavedQuestion"), ["save", "discard", "goOn"])
    if (answer === "save") this.save()
    else if (answer === "discard") this.end()
    else this.stage.element.focus()
  }

  end() {
    this.done = true
    this.window.close()
    this.closed()
  }
}
