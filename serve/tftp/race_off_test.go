//go:build !race

package tftp

const raceDetector = false
