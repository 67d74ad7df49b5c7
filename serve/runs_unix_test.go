//go:build unix

package serve

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestPipeIsNoLog wants a pipe by a log's name refused rather than waited for.
func TestPipeIsNoLog(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/run.json", `{"format":1}`)
	for _, name := range []string{"log.jsonl", "summary.json", "stages.json"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Skip("no pipes here:", err)
		}
	}
	url := startRuns(t, dir)
	object(t, url+"/api/runs")
	object(t, url+"/api/runs/"+filepath.Base(dir))
	if status, raw := fetch(t, url+"/api/runs/"+filepath.Base(dir)+"/log"); status != 500 {
		t.Errorf("%d %s", status, raw)
	}
}
