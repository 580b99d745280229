/** Joins the editor to a node on the page: its widget, its clip, the track that comes from it. */

import { flatGraph, idsOf, nodeAt, signature, takersOf } from "../common/graph.js"
import { runGraph } from "../common/run.js"
import { remembered, write } from "../common/widgets.js"
import { isOpen, openEditor } from "./dialog.js"

const MARKS = "marks"
const TRACKER = "VividTrackMask"
const LOOKED_AT = 12 // runs of the server's history

export const marksWidget = node => node.widgets?.find(widget => widget.name === MARKS)

/** What nodes have shown since the page was loaded; it goes with the node when that goes. */
export class Shown {
  constructor() {
    this.outputs = new WeakMap()
    this.listeners = new Set()
  }

  /** Keep what a node shows when it has run. `source`: what its frames depended on, where that is known. */
  keep(node, output, source = null) {
    const clip = output?.vivid_clip?.[0] && { ...output.vivid_clip[0] }
    const before = this.of(node).clip
    if (clip) clip.source = source ?? (before?.digest === clip.digest ? before.source : null)
    const track = output?.vivid_track?.[0]
    if (!clip && !track) return
    this.outputs.set(node, { ...this.outputs.get(node), ...(clip && { clip }), ...(track && { track }) })
    if (track) this.listeners.forEach(listener => listener(node, track))
  }

  of(node) {
    return this.outputs.get(node) ?? {}
  }
}

/** Open the editor on a node, one at a time. `page` holds {app, api, text, shown}. */
export async function editNode(page, node) {
  const { app } = page
  if (isOpen()) return
  // The page's own undo leaves the keyboard alone while it is told that an editor fills the window.
  const told = app.constructor.maskeditor_is_opended
  app.constructor.maskeditor_is_opended = () => true
  try {
    await openEditor(new Host(page, node))
  } finally {
    app.constructor.maskeditor_is_opended = told
    remembered(app)
  }
}

class Host {
  constructor(page, node) {
    Object.assign(this, {
      page,
      node,
      text: page.text,
      title: node.title,
      marks: String(marksWidget(node)?.value ?? ""),
    })
    this.trackers = []
  }

  save(text) {
    write(this.page.app, this.node, marksWidget(this.node), text)
  }

  /** The graph as the server would take it, with this node's ids in it. Throws when the node can't be run. */
  async look() {
    const flat = await flatGraph(this.page.app)
    const ids = idsOf(this.page.app, flat, this.node)
    if (!ids.length) throw new Error(this.text("muted"))
    if (!Array.isArray(flat.output[ids[0]].inputs.frames)) throw new Error(this.text("noClip"))
    this.trackers = takersOf(flat, ids, TRACKER, "prompts")
    return { flat, ids, source: signature(flat, ids[0], "frames") }
  }

  /** The clip, from what is known of it or from a run up to this node. */
  async clip(told, signal) {
    const { flat, ids, source } = await this.look()
    const known = this.page.shown.of(this.node).clip
    if (known && known.source === source) return known
    await this.follow(flat, [ids[0]], { told, signal, first: true, source, until: output => output.vivid_clip })
    const { clip } = this.page.shown.of(this.node)
    if (!clip) throw new Error(this.text("noPictures"))
    return clip
  }

  forget() {
    const known = this.page.shown.of(this.node).clip
    if (known) known.source = undefined
  }

  pictureUrl(clip, index) {
    const name = clip.names.replace(/%0(\d+)d/, (_, digits) => String(index).padStart(Number(digits), "0"))
    return this.fileUrl({ ...clip, filename: name })
  }

  fileUrl({ filename, subfolder, type }) {
    return this.page.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`)
  }

  /** The last track of this clip, among the nodes that take these marks: {digest, content} or null. */
  async track(clip) {
    for (const id of this.trackers) {
      const node = nodeAt(this.page.app, id)
      const found = node && this.page.shown.of(node).track
      if (found && found.digest === clip.digest) return this.read(found)
    }
    const found = await this.remembered(clip)
    return found && this.read(found)
  }

  /** The last track of this clip that the server remembers: the page forgets when it is loaded anew. */
  async remembered(clip) {
    const answer = await this.page.api.fetchApi(`/history?max_items=${LOOKED_AT}`)
    const runs = answer.ok ? Object.values(await answer.json()) : []
    const tracks = runs.flatMap(run => this.trackers.map(id => run.outputs?.[id]?.vivid_track?.[0]))
    return tracks.filter(track => track?.digest === clip.digest).pop() ?? null
  }

  async read(found) {
    const answer = await fetch(this.fileUrl(found), { cache: "no-store" })
    return answer.ok ? { digest: found.digest, content: await answer.json() } : null
  }

  watch(listener, signal) {
    const { listeners } = this.page.shown
    const heard = (node, track) => {
      if (this.trackers.some(id => nodeAt(this.page.app, id) === node)) listener(this.read(track))
    }
    listeners.add(heard)
    signal.addEventListener("abort", () => listeners.delete(heard))
  }

  /** Run as far as the masks that come from these marks, or everything where nothing makes masks of them. */
  async run(told, signal) {
    const { flat, ids, source } = await this.look()
    const { app, shown } = this.page
    const ends = this.trackers.filter(id => nodeAt(app, id)?.constructor.nodeData?.output_node)
    await this.follow(flat, ends.length ? [ids[0], ...ends] : null, { told, signal, first: false, source })
    const { clip } = shown.of(this.node)
    return { clip, track: await this.track(clip) }
  }

  async follow(flat, targets, { told, signal, first, source, until }) {
    const { app, api, shown } = this.page
    const named = step => {
      if (step.kind === "output") {
        const node = nodeAt(app, step.node)
        if (node) shown.keep(node, step.output, node === this.node ? source : null)
      } else told({ ...step, name: step.node && nodeAt(app, step.node)?.title })
    }
    try {
      await runGraph({ api, flat, targets, first, told: named, signal })
    } catch (fault) {
      // The node shows its clip even when it refuses the marks: then they can be put right here.
      if (!until || fault.name === "AbortError" || this.page.shown.of(this.node).clip?.source !== source) throw fault
    }
  }
}
