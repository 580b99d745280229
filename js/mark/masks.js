/** Masks as tinted pictures to lay over a frame: the last run's, painted ones, and the one that is being painted. */

import { drawSegment, decode, painted } from "./runs.js"
import { colourOf, markAt } from "./state.js"

const KEPT = 24
const INSIDE = { tracked: 92, painted: 128 } // opacity of 255; the rim is opaque

export class Masks {
  constructor() {
    this.pictures = new Map()
    this.live = null
  }

  /** [{object, picture, kind}] of the objects that are seen on the frame, with "tracked" or "painted" as the kind. */
  on(editor, frame) {
    const found = []
    for (const { id } of editor.shown.objects) {
      if (editor.hidden.has(id)) continue
      const mark = markAt(editor.shown, frame, id)
      const runs = editor.track?.objects.get(id)?.[frame]
      if (mark.painted) found.push({ object: id, kind: "painted", picture: this.paintedPicture(editor, mark) })
      else if (runs && editor.masksShown)
        found.push({ object: id, kind: "tracked", picture: this.trackedPicture(editor, id, frame, runs) })
    }
    return found
  }

  trackedPicture({ track }, object, frame, runs) {
    const { width, height } = track
    return this.kept(`${frame}:${object}:tracked`, runs, () =>
      tinted(decode(runs, width, height), width, height, object, "tracked"),
    )
  }

  paintedPicture(editor, mark) {
    const size = sizeOf(editor)
    const key = `${mark.frame}:${mark.object}:painted`
    if (editor.live && mark.frame === editor.frame && mark.object === editor.object)
      return this.growing(editor.live, mark, size)
    return this.kept(key, mark, () => tinted(painted(mark, ...size), ...size, mark.object, "painted"))
  }

  /** The mask under the brush: only what the stroke has gained is drawn again. */
  growing({ before, stroke, base }, mark, size) {
    if (this.live?.stroke !== stroke) {
      const start = before.painted ? before : { ...before, base }
      this.live = { stroke, mask: painted(start, ...size), drawn: 0 }
    }
    const { path } = stroke
    for (; this.live.drawn < path.length; this.live.drawn++) {
      const at = this.live.drawn
      drawSegment(this.live.mask, ...size, path[Math.max(at - 1, 0)], path[at], stroke)
    }
    return tinted(this.live.mask, ...size, mark.object, "painted")
  }

  kept(key, source, draw) {
    const known = this.pictures.get(key)
    this.pictures.delete(key)
    const entry = known?.source === source ? known : { source, picture: draw() }
    this.pictures.set(key, entry)
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value)
    return entry.picture
  }
}

/** Painted masks are shown in the size of the pictures. */
const sizeOf = ({ track, clip }) =>
  track ? [track.width, track.height] : [clip.shown_width ?? clip.width, clip.shown_height ?? clip.height]

function tinted(mask, width, height, object, kind) {
  const canvas = new OffscreenCanvas(width, height)
  const context = canvas.getContext("2d")
  const image = context.createImageData(width, height)
  const pixels = new Uint32Array(image.data.buffer)
  const colour = parseInt(colourOf(object).slice(1), 16)
  const [red, green, blue] = [colour >> 16, (colour >> 8) & 255, colour & 255]
  const shade = opacity => ((opacity << 24) | (blue << 16) | (green << 8) | red) >>> 0
  const [inner, rim] = [shade(INSIDE[kind]), shade(255)]
  for (let row = 0, at = 0; row < height; row++)
    for (let column = 0; column < width; column++, at++) {
      if (!mask[at]) continue
      const enclosed =
        column > 0 &&
        column < width - 1 &&
        row > 0 &&
        row < height - 1 &&
        mask[at - 1] &&
        mask[at + 1] &&
        mask[at - width] &&
        mask[at + width]
      pixels[at] = enclosed ? inner : rim
    }
  context.putImageData(image, 0, 0)
  return canvas
}
