/**
 * Masks as run lengths, and strokes drawn into masks. A mask is a Uint8Array of width * height zeros and ones.
 *
 * The runs alternate between 0 and 1 in row-major order, the first counts zeros and may be 0. The strokes touch the
 * same pixels as in vivid_core/masks/strokes.py: those whose middle is within the brush.
 */

export function decode(runs, width, height) {
  const mask = new Uint8Array(width * height)
  let at = 0
  ;(runs ?? []).forEach((length, index) => {
    if (index % 2) mask.fill(1, at, at + length)
    at += length
  })
  return mask
}

/** The finished mask of a painted mark: its strokes over its base. */
export function painted(mark, width, height) {
  const mask = mark.base ? resized(mark.base, width, height) : new Uint8Array(width * height)
  for (const stroke of mark.strokes) drawStroke(mask, width, height, stroke)
  return mask
}

function drawStroke(mask, width, height, stroke) {
  const { path } = stroke
  for (let at = 0; at < Math.max(1, path.length - 1); at++)
    drawSegment(mask, width, height, path[at], path[at + 1] ?? path[at], stroke)
}

/** Draw the line between two places of a stroke. */
export function drawSegment(mask, width, height, from, to, { radius: part, erase }) {
  const [x0, y0, x1, y1] = [from[0] * width, from[1] * height, to[0] * width, to[1] * height]
  const [radius, value] = [part * width, erase ? 0 : 1]
  const [across, down] = [x1 - x0, y1 - y0]
  const length = across ** 2 + down ** 2
  const bound = (number, most) => Math.min(Math.max(number, 0), most)
  const [left, right] = [Math.floor(Math.min(x0, x1) - radius), Math.ceil(Math.max(x0, x1) + radius)]
  const [top, bottom] = [Math.floor(Math.min(y0, y1) - radius), Math.ceil(Math.max(y0, y1) + radius)]
  for (let row = bound(top, height); row < bound(bottom, height); row++) {
    const y = row + 0.5 - y0
    for (let column = bound(left, width); column < bound(right, width); column++) {
      const x = column + 0.5 - x0
      const along = length ? bound((x * across + y * down) / length, 1) : 0
      if ((x - along * across) ** 2 + (y - along * down) ** 2 <= radius ** 2) mask[row * width + column] = value
    }
  }
}

function resized(base, width, height) {
  const mask = decode(base.runs, base.width, base.height)
  if (base.width === width && base.height === height) return mask
  const out = new Uint8Array(width * height)
  for (let row = 0; row < height; row++) {
    const from = Math.floor(((row + 0.5) * base.height) / height) * base.width
    for (let column = 0; column < width; column++)
      out[row * width + column] = mask[from + Math.floor(((column + 0.5) * base.width) / width)]
  }
  return out
}
