package serve

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sonde/internal/browser"
)

// recipeRun writes a run with three stages: one that is done, one that goes on and has
// rollouts, one that waits.
func recipeRun(t *testing.T, dir string) {
	t.Helper()
	put(t, dir+"/run.json", `{"format":1,"kind":"r1","options":{"preset":"nano"}}`)
	put(t, dir+"/stages.json", `{"stages":[{"name":"Pre-training","kind":"train","folder":"1-pre","state":"done","about":"reading sums","step":300,"steps":300,"seconds":90,
		"cost":{"learned":1000,"read":0,"written":0,"flops":1e15,"seconds":90,"dollars":0.004},"exam":{"tasks":[{"task":"sums","n":50,"greedy":0.62,"greedy_ci95":[0.5,0.7],"sampled":0.31,"thought_tokens":7,"hard":{"greedy":0.1,"sampled":0.05,"thought_tokens":9}}]}},
		{"name":"GRPO","kind":"grpo","folder":"2-rl","state":"running","step":40,"steps":100},{"name":"Distillation","kind":"distill","folder":"3-small","state":"waiting"}]}`)
	put(t, dir+"/1-pre/run.json", `{"format":1,"options":{"steps":300,"lr":0.003}}`)
	put(t, dir+"/1-pre/log.jsonl", logOf(1, 300))
	var b strings.Builder
	for s := 1; s <= 40; s++ {
		fmt.Fprintf(&b, `{"step":%d,"time":%d,"tokens":%d,"loss":0.01,"reward":%g,"accuracy":%g,"entropy":%g,"load_max_mean":1.2,"loads":[[5,6,7],[4,4,9]],"curious":%d`, s, 1000+s, 50*s, .02*float64(s), .02*float64(s), 1/float64(s), s)
		if s%10 == 0 {
			fmt.Fprintf(&b, `,"heldout_accuracy":%g,"heldout_greedy":%g`, .02*float64(s), .021*float64(s))
		}
		b.WriteString("}\n")
	}
	put(t, dir+"/2-rl/run.json", `{"format":1,"kind":"grpo","options":{"steps":100,"lr":0.0003}}`)
	put(t, dir+"/2-rl/log.jsonl", b.String())
	for _, step := range []int{20, 40} {
		put(t, fmt.Sprintf("%s/2-rl/rollouts/%08d.jsonl", dir, step), rolloutLines(step))
	}
}

// rolloutLines are three groups of four samples; what they say would be mischief in a
// page that took it for HTML.
func rolloutLines(step int) string {
	var b strings.Builder
	for i := range 12 {
		task := []string{"sums", "sums", "words"}[i/4]
		fmt.Fprintf(&b, `{"step":%d,"group":%d,"sample":%d,"task":%q,"prompt":"Question %d <img src=x onerror=document.title='owned'>","text":"t","thought":"thinking %d of %d","answer":"answer %d","reference":"%d","right":%v,"reward":%d,"advantage":%g,"length":9,"finish":"stop","verdict":"equal"}`+"\n",
			step, i/4, i%4, task, i/4, i, step, i, i, i%2 == 0, (i+1)%2, float64(i%3)-1)
	}
	return b.String()
}

// shownText is what the page shows, with plain spaces.
const shownText = `document.body.innerText.replaceAll("\u00a0", " ")`

// TestRunsPage looks at the page in a browser, as a user would: curves, stages,
// rollouts by mouse and by keyboard, and nothing that goes wrong on the way.
func TestRunsPage(t *testing.T) {
	dir := t.TempDir()
	recipeRun(t, dir)
	url := startRuns(t, dir)
	p := browser.Open(t, 1300, 900, false)
	p.Go(url)
	p.Wait(`document.querySelectorAll(".chart:not([hidden]) canvas").length >= 7`)
	for _, chart := range []string{"Reward", "Accuracy", "Entropy", "Expert load", "curious"} {
		p.Wait(`[...document.querySelectorAll(".chart .what")].some(e => e.textContent === "` + chart + `")`)
	}
	p.Wait(shownText + `.includes("80 % ● 80 % ◆ 84 %")`)
	p.Wait(`document.querySelectorAll("#stages button").length === 4 && ` + shownText + `.includes("✓ Pre-training") && ` + shownText + `.includes("▶ GRPO") && ` + shownText + `.includes("○ Distillation")`)
	p.Wait(`!document.querySelector("canvas.heat").closest("figure").hidden`)
	if n := p.Eval(`document.querySelector("canvas.heat").height`); n != 3.0 {
		t.Errorf("the heat map has %v experts", n)
	}

	p.Click("#stages li:first-child button") // pre-training
	p.Wait(`location.hash.includes("1-pre") && document.querySelector("[data-line=loss]") && !document.querySelector("[data-line=reward]")`)
	p.Wait(shownText + `.includes("reading sums")`)
	p.Click("#tab-results")
	p.Wait(shownText + `.includes("62 %") && ` + shownText + `.includes("drawn 31 %") && ` + shownText + `.includes("sums, harder") && ` + shownText + `.includes("$0.004")`)
	p.Click("#tab-curves")
	p.Eval(`(() => { const e = document.getElementById("x"); e.value = "tokens"; e.dispatchEvent(new Event("change")); })()`)
	p.Wait(`location.hash.includes("x=tokens")`)

	p.Click("#stages li:nth-child(2) button")
	p.Wait(`document.querySelector("[data-line=reward]")`)
	p.Click("#tab-rollouts")
	p.Wait(shownText + `.includes("Step 40") && ` + shownText + `.includes("12 of 12 samples · 6 right") && ` + shownText + `.includes("thinking 0 of 40")`)
	p.Key("j")
	p.Wait(shownText + `.includes("thinking 1 of 40")`)
	p.Key("n")
	p.Wait(shownText + `.includes("thinking 4 of 40")`)
	p.Key("t")
	p.Wait(`!` + shownText + `.includes("thinking 4 of 40")`)
	p.Key("t")
	p.Key("k")
	p.Wait(shownText + `.includes("thinking 3 of 40")`)
	p.Key("ArrowLeft")
	p.Wait(shownText + `.includes("thinking 0 of 20") && location.hash.includes("step=20")`)
	p.Eval(`(() => { for (const [i, v] of [[0, "words"], [1, "wrong"]]) { const e = document.querySelectorAll(".filters select")[i]; e.value = v; e.dispatchEvent(new Event("change")); } })()`)
	p.Wait(shownText + `.includes("2 of 12 samples · 0 right") && ` + shownText + `.includes("thinking 9 of 20")`)

	p.Click("#tab-settings")
	p.Wait(shownText + `.includes("0.0003") || ` + shownText + `.includes("3.0e−4")`)
	picture(t, p, "settings")
	if title := p.Eval("document.title"); title == "owned" {
		t.Error("a prompt was taken for HTML")
	}
	for _, s := range p.Trouble() {
		t.Error(s)
	}
}

// TestRunsPageFollows wants the page to show what a run adds while it is watched, and
// to say when the server is gone.
func TestRunsPageFollows(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/run.json", `{"format":1,"options":{"steps":100}}`)
	srv := startRunsServer(t, dir)
	p := browser.Open(t, 900, 700, true)
	p.Go(srv.URL)
	p.Wait(shownText + `.includes("No step has been logged yet")`)
	put(t, dir+"/log.jsonl", logOf(1, 30))
	p.Wait(shownText + `.includes("step 30 of 100")`)
	put(t, dir+"/log.jsonl", logOf(1, 60)+`{"step":61,`)
	p.Wait(shownText + `.includes("step 60 of 100") && document.querySelector("[data-line=loss] .readout").innerText.includes("0.0")`)
	for _, s := range p.Trouble() {
		t.Error(s)
	}
	srv.Close()
	p.Wait(shownText + `.includes("The server is gone")`)
}

// TestRunsPageOnAPhone wants no sideways scrolling at 390 pixels, and runs side by side.
func TestRunsPageOnAPhone(t *testing.T) {
	dir := t.TempDir()
	recipeRun(t, filepath.Join(dir, "r1"))
	for i := range 3 {
		put(t, fmt.Sprintf("%s/a-run-with-a-rather-long-name-that-has-to-break-somewhere-%d/log.jsonl", dir, i), logOf(1, 50+i))
	}
	url := startRuns(t, dir)
	p := browser.Open(t, 390, 844, false)
	for _, tab := range []string{"curves", "rollouts", "results", "settings"} {
		p.Go(url + "/?" + tab + "#tab=" + tab + "&runs=r1:2-rl,a-run-with-a-rather-long-name-that-has-to-break-somewhere-1")
		p.Wait(`document.body.dataset.ready && ` + shownText + `.includes("2 runs")`)
		if tab == "rollouts" {
			p.Wait(`document.querySelectorAll(".sample").length === 12`)
		}
		if w := p.Eval("document.documentElement.scrollWidth"); w.(float64) > 390 {
			t.Errorf("%s is %v pixels wide", tab, w)
		}
		picture(t, p, "phone-"+tab)
	}
	for _, s := range p.Trouble() {
		t.Error(s)
	}
}

// picture keeps a picture of the page where SONDE_PICTURES names a folder.
func picture(t *testing.T, p *browser.Page, name string) {
	t.Helper()
	if dir := os.Getenv("SONDE_PICTURES"); dir != "" {
		p.Picture(filepath.Join(dir, name+".png"))
	}
}
