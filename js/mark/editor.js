/** One editing session: what is marked, what is looked at, and every command of a key, a button or a gesture. */

import * as history from "./history.js"
import * as state from "./state.js"

export const TOOLS = ["point", "box", "paint", "erase", "pan"]
export const RADIUS = { least: 0.002, most: 0.25, first: 0.03 }

/** Tells its listeners by the event "change"; they read what they need from its fields. */
export class Editor extends EventTarget {
  /** @param {object} doc as state.parse gives it @param {string} text what is saved at present */
  constructor(doc, text) {
    super()
    Object.assign(this, { doc, saved: doc, text, draft: null, live: null, history: history.newHistory() })
    Object.assign(this, { clip: null, track: null, stale: false, frame: 0, object: doc.objects[0].id, selection: null })
    Object.assign(this, { tool: "point", label: 1, radius: RADIUS.first, finished: true, hidden: new Set() })
    Object.assign(this, { masksShown: true, playing: false })
    this.newestId = Math.max(...doc.objects.map(object => object.id))
  }

  changed() {
    this.dispatchEvent(new Event("change"))
  }

  set(fields) {
    Object.assign(this, fields)
    this.changed()
  }

  /** The document as it is seen: with the gesture that is being made. */
  get shown() {
    return this.draft ?? this.doc
  }

  get mark() {
    return state.markAt(this.shown, this.frame, this.object)
  }

  get unsaved() {
    return this.doc !== this.saved
  }

  get otherClip() {
    return Boolean(this.clip && state.isOtherClip(this.doc, this.clip))
  }

  get last() {
    return (this.clip?.frames ?? 1) - 1
  }

  goTo(frame) {
    const to = Math.min(Math.max(Math.round(frame), 0), this.last)
    if (to !== this.frame) this.set({ frame: to, selection: null })
  }

  step(by) {
    this.set({ playing: false })
    this.goTo(this.frame + by)
  }

  /** The frames with a mark, or with advice, before or after this one: for jumping between them. */
  jump(direction, frames) {
    const beyond = frames.filter(frame => (frame - this.frame) * direction > 0 && frame <= this.last)
    if (beyond.length) this.goTo(direction > 0 ? Math.min(...beyond) : Math.max(...beyond))
  }

  setTool(tool) {
    this.set({ tool, selection: tool === "point" ? this.selection : null })
  }

  setObject(object) {
    this.set({ object, selection: null })
  }

  setRadius(radius) {
    this.set({ radius: Math.min(Math.max(radius, RADIUS.least), RADIUS.most) })
  }

  /** Make an edit: it is remembered under the frame that is looked at. */
  commit(doc, selection = this.selection) {
    if (doc !== this.doc) history.remember(this.history, this.frame, this.doc, doc)
    this.set({ doc, draft: null, live: null, selection, stale: this.stale || doc !== this.doc })
  }

  /** Make an edit of this object's mark on this frame. */
  edit(change, selection) {
    this.commit(state.withMark(this.doc, change(state.markAt(this.doc, this.frame, this.object))), selection)
  }

  /** Show a document that is not decided yet; null goes back. */
  sketch(draft, live = null) {
    this.set({ draft, live })
  }

  /** The last run's mask of an object on a frame, as the base of a painted one; null where there is none. */
  base(frame, object) {
    const runs = this.track?.objects.get(object)?.[frame]
    return runs ? { width: this.track.width, height: this.track.height, runs } : null
  }

  undo() {
    this.back(history.undo)
  }

  redo() {
    this.back(history.redo)
  }

  back(step) {
    const doc = step(this.history, this.frame, this.doc)
    const object = doc.objects.some(({ id }) => id === this.object) ? this.object : doc.objects[0].id
    this.set({ doc, object, draft: null, live: null, selection: null, stale: this.stale || doc !== this.doc })
  }

  get canUndo() {
    return history.canUndo(this.history, this.frame)
  }

  get canRedo() {
    return history.canRedo(this.history, this.frame)
  }

  /** Positive becomes negative: the selected point, and what is clicked next. */
  flip() {
    const point = this.selection?.kind === "point" ? this.mark.points[this.selection.index] : null
    this.label = point ? 1 - point[2] : 1 - this.label
    if (point) this.edit(mark => state.flipPoint(mark, this.selection.index))
    else this.set({ tool: "point" })
  }

  /** Take away what is selected, or else what came last on this frame. */
  remove() {
    const { mark, selection } = this
    if (selection?.kind === "point") return this.removePoint(selection.index)
    if (selection?.kind === "box") return this.edit(was => state.setBox(was, null), null)
    if (mark.strokes.length) return this.edit(state.removeStroke, null)
    if (mark.painted) return this.edit(state.here, null)
    if (mark.points.length) return this.removePoint(mark.points.length - 1)
    if (mark.box) this.edit(was => state.setBox(was, null), null)
  }

  removePoint(index) {
    const left = this.mark.points.length - 1
    this.edit(mark => state.removePoint(mark, index), left ? { kind: "point", index: left - 1 } : null)
  }

  toggleNotHere() {
    this.edit(mark => (state.saysNotHere(mark) ? state.here(mark) : state.notHere(mark)), null)
  }

  clearFrame() {
    this.edit(mark => state.blankMark(mark.frame, mark.object), null)
  }

  addObject() {
    const id = ++this.newestId
    this.object = id
    this.commit(state.addObject(this.doc, id), null)
  }

  removeObject(id) {
    const doc = state.removeObject(this.doc, id)
    if (!doc.objects.some(object => object.id === this.object)) this.object = doc.objects[0].id
    this.commit(doc, null)
  }

  /** A name belongs to no frame, so no frame's undo takes it back. */
  renameObject(id, name) {
    if (this.doc.objects.some(object => object.id === id && object.name !== name))
      this.set({ doc: state.renameObject(this.doc, id, name) })
  }

  toggleHidden(id) {
    const hidden = new Set(this.hidden)
    if (!hidden.delete(id)) hidden.add(id)
    this.set({ hidden })
  }

  /** The marks belong to the clip that is shown, although they were made on another one. */
  adopt() {
    this.commit({ ...this.doc, clip: state.clipOf(this.clip) })
  }

  removeBeyond() {
    this.commit(state.withinClip(this.doc, this.clip.frames))
  }

  get beyond() {
    return this.clip ? this.doc.marks.filter(mark => mark.frame >= this.clip.frames) : []
  }

  /** The text to keep. What was edited here was looked at on this clip, so it belongs to it from now on. */
  save() {
    if (this.unsaved) {
      const clip = this.clip && this.doc.marks.length ? state.clipOf(this.clip) : this.doc.clip
      const doc = { ...this.doc, clip }
      Object.assign(this, { doc, saved: doc, text: state.serialise(doc) })
      this.changed()
    }
    return this.text
  }
}
