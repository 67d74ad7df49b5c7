package sonde

import (
	"bytes"
	"fmt"
	"os"
)

// anonymousMB is this process's memory that is no file's, in megabytes.
func anonymousMB() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, line, _ := bytes.Cut(status, []byte("\nRssAnon:"))
	var kib float64
	if _, err := fmt.Sscanf(string(line), "%f kB", &kib); err != nil {
		return 0
	}
	return kib * 1024 / 1e6
}
