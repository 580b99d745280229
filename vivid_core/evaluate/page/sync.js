// Videos of one clip that are always at the same frame. The first one that plays leads; the others follow it.
class Together {
  constructor(videos, frames, onFrame) {
    this.videos = videos
    this.frames = Math.max(1, frames)
    this.onFrame = onFrame
    this.playing = false
    this.rate = 1
    for (const video of videos) {
      video.controls = false
      video.muted = true
      video.addEventListener("loadedmetadata", () => this.show(this.at))
      video.addEventListener("ended", () => { if (this.playing && video === this.leader) this.begin() })
    }
    this.at = 0
  }
  get leader() { return this.videos.find(video => video.readyState > 0 && !video.error) }
  get length() { return this.leader?.duration || 0 }
  load() {
    for (const video of this.videos) if (video.preload !== "auto") { video.preload = "auto"; video.load() }
  }
  begin() { this.seek(0); if (this.playing) this.play() }
  seek(seconds) {
    for (const video of this.videos) if (video.readyState > 0) video.currentTime = Math.min(seconds, video.duration)
    this.told(seconds)
  }
  // Into the middle of a frame, so that rounding never shows the one beside it.
  show(frame) {
    this.at = Math.min(Math.max(0, frame), this.frames - 1)
    if (this.length) this.seek(((this.at + 0.5) / this.frames) * this.length)
  }
  told(seconds) {
    if (this.length) this.at = Math.min(this.frames - 1, Math.floor((seconds / this.length) * this.frames))
    this.onFrame?.(this.at)
  }
  play() {
    this.load()
    this.playing = true
    for (const video of this.videos) { video.playbackRate = this.rate; video.play().catch(() => {}) }
    if (!this.following) this.follow()
  }
  pause() {
    this.playing = false
    for (const video of this.videos) video.pause()
    this.show(this.at)
  }
  setRate(rate) {
    this.rate = rate
    for (const video of this.videos) video.playbackRate = rate
  }
  follow() {
    this.following = true
    const step = () => {
      if (!this.playing) { this.following = false; return }
      const leader = this.leader
      if (leader) {
        const apart = this.length / this.frames
        for (const video of this.videos) {
          if (video === leader || !video.readyState || video.ended) continue
          if (Math.abs(video.currentTime - leader.currentTime) > apart) video.currentTime = leader.currentTime
        }
        this.told(leader.currentTime)
      }
      requestAnimationFrame(step)
    }
    requestAnimationFrame(step)
  }
}
// Clips of a few frames are over before one can look.
const usualRate = seconds => (seconds > 0 && seconds < 0.8 ? 0.25 : seconds < 1.6 ? 0.5 : 1)
