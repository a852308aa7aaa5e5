//go:build race

package kernel

// raceEnabled: decompressing is ten times slower under the race detector.
const raceEnabled = true
