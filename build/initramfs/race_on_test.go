//go:build race

package initramfs

const raceDetector = true
