//go:build !race

package cpu

// raceDetector reports whether this test binary watches for data races.
const raceDetector = false
