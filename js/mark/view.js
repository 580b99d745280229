/** Draws the stage: the frame, the masks over it, the marks, the brush. Reads the editor and changes nothing. */

import { toStage } from "../common/geometry.js"
import { colourOf, marksOn, saysNotHere } from "./state.js"

const POINT = 8 // radius of a point in CSS pixels
const HANDLE = 5

/**
 * @param {CanvasRenderingContext2D} context in CSS pixels
 * @param {object} scene {editor, view, stage: {width, height}, picture, layers, hover}
 */
export function drawStage(context, scene) {
  const { editor, view, stage, picture, layers } = scene
  const frame = editor.clip
  context.clearRect(0, 0, stage.width, stage.height)
  const area = [view.x, view.y, frame.width * view.scale, frame.height * view.scale]
  context.imageSmoothingEnabled = view.scale * (frame.width / (frame.shown_width ?? frame.width)) < 3
  context.imageSmoothingQuality = "high"
  if (picture) context.drawImage(picture, ...area)
  else drawMissing(context, area)
  layers.forEach(layer => context.drawImage(layer.picture, ...area))
  const marks = marksOn(editor.shown, editor.frame).filter(mark => !editor.hidden.has(mark.object))
  marks.sort((a, b) => Number(a.object === editor.object) - Number(b.object === editor.object))
  marks.forEach(mark => drawMark(context, scene, mark))
  if (scene.hover && ["paint", "erase"].includes(editor.tool)) drawBrush(context, scene)
}

function drawMissing(context, [x, y, width, height]) {
  context.fillStyle = "#8884"
  context.fillRect(x, y, width, height)
}

function drawMark(context, scene, mark) {
  const current = mark.object === scene.editor.object
  const colour = colourOf(mark.object)
  context.save()
  context.globalAlpha = current ? 1 : 0.65
  if (!mark.painted) mark.strokes.forEach(stroke => drawHint(context, scene, stroke, colour))
  if (mark.box) drawBox(context, scene, mark.box, colour, current)
  mark.points.forEach((point, index) => {
    const selected = current && scene.editor.selection?.kind === "point" && scene.editor.selection.index === index
    drawPoint(context, scene, point, colour, selected)
  })
  if (saysNotHere(mark)) drawNotHere(context, scene, colour)
  context.restore()
}

function drawPoint(context, { editor, view }, [x, y, label], colour, selected) {
  const at = toStage(view, x, y, editor.clip)
  const disc = (radius, fill) => {
    context.beginPath()
    context.arc(at.x, at.y, radius, 0, 2 * Math.PI)
    context.fillStyle = fill
    context.fill()
  }
  if (selected) disc(POINT + 5, "#ffffffb0")
  disc(POINT + 2.5, "#000000b0")
  disc(POINT + 1, label ? "#fff" : colour)
  disc(POINT - 1, label ? colour : "#1c1c1c")
  context.strokeStyle = "#fff"
  context.lineWidth = 2
  context.beginPath()
  context.moveTo(at.x - 3.5, at.y)
  context.lineTo(at.x + 3.5, at.y)
  if (label) {
    context.moveTo(at.x, at.y - 3.5)
    context.lineTo(at.x, at.y + 3.5)
  }
  context.stroke()
}

function drawBox(context, { editor, view }, [x0, y0, x1, y1], colour, current) {
  const [a, b] = [toStage(view, x0, y0, editor.clip), toStage(view, x1, y1, editor.clip)]
  const selected = current && (editor.tool === "box" || editor.selection?.kind === "box")
  for (const [style, width] of [
    ["#000000a0", 4],
    [colour, 2],
  ]) {
    context.strokeStyle = style
    context.lineWidth = width
    context.strokeRect(a.x, a.y, b.x - a.x, b.y - a.y)
  }
  if (!selected) return
  const middle = [(a.x + b.x) / 2, (a.y + b.y) / 2]
  const places = [
    [a.x, a.y],
    [b.x, a.y],
    [a.x, b.y],
    [b.x, b.y],
    [middle[0], a.y],
    [middle[0], b.y],
    [a.x, middle[1]],
    [b.x, middle[1]],
  ]
  for (const [x, y] of places) {
    context.fillStyle = "#000000a0"
    context.fillRect(x - HANDLE - 1, y - HANDLE - 1, 2 * HANDLE + 2, 2 * HANDLE + 2)
    context.fillStyle = "#fff"
    context.fillRect(x - HANDLE + 1, y - HANDLE + 1, 2 * HANDLE - 2, 2 * HANDLE - 2)
  }
}

/** A stroke that is a hint: a translucent band with a dashed line along it; dark where it is background. */
function drawHint(context, { editor, view }, { path, radius, erase }, colour) {
  const line = new Path2D()
  path.forEach(([x, y], index) => {
    const at = toStage(view, x, y, editor.clip)
    if (index) line.lineTo(at.x, at.y)
    else line.moveTo(at.x, at.y)
  })
  if (path.length === 1) line.closePath()
  Object.assign(context, { lineCap: "round", lineJoin: "round", strokeStyle: erase ? "#000000" : colour })
  context.save()
  context.globalAlpha *= 0.4
  context.lineWidth = 2 * radius * editor.clip.width * view.scale
  context.stroke(line)
  context.restore()
  Object.assign(context, { lineWidth: 1.5, strokeStyle: "#fff" })
  context.setLineDash(erase ? [2, 5] : [7, 5])
  context.stroke(line)
  context.setLineDash([])
}

/** A frame on which the object is said not to be: its corners are struck through. */
function drawNotHere(context, { editor, view }, colour) {
  const [a, b] = [toStage(view, 0, 0, editor.clip), toStage(view, 1, 1, editor.clip)]
  Object.assign(context, { strokeStyle: colour, lineWidth: 2 })
  context.setLineDash([10, 8])
  context.strokeRect(a.x + 4, a.y + 4, b.x - a.x - 8, b.y - a.y - 8)
  context.beginPath()
  context.moveTo(a.x + 4, a.y + 4)
  context.lineTo(b.x - 4, b.y - 4)
  context.moveTo(b.x - 4, a.y + 4)
  context.lineTo(a.x + 4, b.y - 4)
  context.stroke()
  context.setLineDash([])
}

function drawBrush(context, { editor, view, hover }) {
  const at = toStage(view, hover.x, hover.y, editor.clip)
  const radius = editor.radius * editor.clip.width * view.scale
  for (const [style, width] of [
    ["#000000a0", 3],
    [editor.tool === "erase" ? "#fff" : colourOf(editor.object), 1.5],
  ]) {
    context.beginPath()
    context.arc(at.x, at.y, radius, 0, 2 * Math.PI)
    Object.assign(context, { strokeStyle: style, lineWidth: width })
    context.stroke()
  }
}
