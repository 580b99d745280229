/** The clip's pictures: fetched when they are wanted, few are kept, those beside the frame are fetched ahead. */

const KEPT = 96
const AHEAD = 6

export class Pictures {
  /**
   * @param {(index: number) => string} urlOf
   * @param {number} count
   * @param {() => void} arrived called when a picture is there
   * @param {() => void} lost called once when one can't be had
   */
  constructor(urlOf, count, arrived, lost) {
    Object.assign(this, { urlOf, count, arrived, lost, pictures: new Map(), failed: false })
  }

  /** The picture of a frame, or null while it is on its way. */
  at(index) {
    const picture = this.fetch(index)
    for (let by = 1; by <= AHEAD; by++) [index + by, index - by].forEach(other => this.fetch(other))
    return picture?.complete && picture.naturalWidth ? picture : null
  }

  fetch(index) {
    if (index < 0 || index >= this.count || this.failed) return null
    const known = this.pictures.get(index)
    if (known) {
      this.pictures.delete(index) // and set again below: the map's order is the order of use
      this.pictures.set(index, known)
      return known
    }
    const picture = new Image()
    picture.onload = () => this.arrived()
    picture.onerror = () => this.fail()
    picture.src = this.urlOf(index)
    this.pictures.set(index, picture)
    if (this.pictures.size > KEPT) this.forget(this.pictures.keys().next().value)
    return picture
  }

  fail() {
    if (this.failed) return
    this.failed = true
    this.lost()
  }

  forget(index) {
    const picture = this.pictures.get(index)
    Object.assign(picture, { onload: null, onerror: null })
    if (!picture.complete) picture.src = ""
    this.pictures.delete(index)
  }

  close() {
    ;[...this.pictures.keys()].forEach(index => this.forget(index))
  }
}
