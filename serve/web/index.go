package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// maxIndex bounds a listing.
const maxIndex = 1000

// entry is one line of a listing.
type entry struct {
	Name, Href string
	Size       int64
	Time       time.Time
	Folder     bool
}

// index answers for a folder itself: EKS Anywhere fetches hookImagesURLPath
// to see whether it is there, people want to see what is in it.
func (s *Server) index(w *sender, r *http.Request, name string) {
	entries, err := s.state.artifacts.list(name)
	if err != nil {
		s.log().Error("artifacts", "error", err)
		s.fail(w, r, http.StatusNotFound, "the artifacts folder cannot be read")
		return
	}
	var b bytes.Buffer
	w.Header().Set("Vary", "Accept")
	w.Header().Set("Cache-Control", "no-cache")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		err = indexPage.Execute(&b, map[string]any{"Title": path.Join("/hook", name) + "/", "Up": name != ".", "Entries": entries})
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		for _, e := range entries {
			fmt.Fprintf(&b, "%12d  %s  %s\n", e.Size, e.Time.UTC().Format(time.RFC3339), e.Name)
		}
	}
	if err != nil {
		s.fail(w, r, http.StatusInternalServerError, "the listing cannot be made")
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b.Bytes()))
}

// list reads a folder, sorted by name.
func (a *artifacts) list(dir string) ([]entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.lookup(); err != nil {
		return nil, err
	}
	d, err := a.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(maxIndex)
	if err != nil && err != io.EOF {
		return nil, err
	}
	slices.Sort(names)
	mayList, err := a.listed(dir)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, name := range names {
		info, err := a.root.Stat(path.Join(dir, name))
		if err != nil || strings.HasPrefix(name, ".") || !info.IsDir() && (!info.Mode().IsRegular() || !mayList(name)) {
			continue
		}
		e := entry{Name: name, Size: info.Size(), Time: info.ModTime(), Folder: info.IsDir()}
		// From the top: the address may have come without the slash at the end.
		e.Href = (&url.URL{Path: path.Join("/hook", dir, name)}).EscapedPath()
		if e.Folder {
			e.Name, e.Href, e.Size = e.Name+"/", e.Href+"/", 0
		}
		entries = append(entries, e)
	}
	return entries, nil
}

var indexPage = template.Must(template.New("index").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:1.5rem}td,th{padding:.1rem 1rem .1rem 0;text-align:left}
.n{text-align:right;font-variant-numeric:tabular-nums}</style>
<h1>{{.Title}}</h1>
<table><tr><th>Name<th class="n">Bytes<th>Changed (UTC)</tr>
{{- range .Entries}}
<tr><td><a href="{{.Href}}">{{.Name}}</a><td class="n">{{if not .Folder}}{{.Size}}{{end}}<td>{{.Time.UTC.Format "2006-01-02 15:04:05"}}</tr>
{{- end}}
</table></html>
`))
