package serve

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed web
var web embed.FS

// policy lets the page load its own files and talk to its own server, nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// pagePaths are what the page consists of.
var pagePaths = []string{"/{$}", "/app.js", "/problems.js", "/style.css", "/icon.svg"}

// page serves the files of serve/web.
func page() http.Handler { return filesOf("web") }

// filesOf serves the files of a folder of the program.
func filesOf(folder string) http.Handler {
	files, err := fs.Sub(web, folder)
	if err != nil {
		panic(err) // the folder is part of the program
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	})
}

// folderOf are the names of the files that filesOf serves.
func folderOf(folder string) []string {
	entries, err := web.ReadDir(folder)
	if err != nil {
		panic(err) // as above
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
