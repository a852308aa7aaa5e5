package inspect

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
)

//go:embed page/page.html
var pageHTML string

//go:embed page/page.css
var pageCSS string

//go:embed page/page.js
var pageJS string

// pageData is what the page's script gets.
type pageData struct {
	*Report
	Files []pageFile `json:"files"`
}

// pageFile is a file in short: path, memory, segment.
type pageFile [3]any

// WriteHTML writes the report as one page without anything from elsewhere: its
// content policy allows its own style and script, and no connection.
func (r *Report) WriteHTML(w io.Writer) error {
	data := pageData{Report: r, Files: []pageFile{}}
	for _, f := range r.Files {
		if f.Memory > 0 {
			data.Files = append(data.Files, pageFile{f.Path, f.Memory, f.Segment})
		}
	}
	// json.Marshal escapes <, > and &, so the text cannot end the element it stands in.
	b, err := json.Marshal(data)
	if err != nil {
		return err
	}
	policy := "default-src 'none'; base-uri 'none'; form-action 'none'; style-src '" + cspHash(pageCSS) + "'; script-src '" + cspHash(pageJS) + "'"
	_, err = strings.NewReplacer(
		"{{policy}}", policy, "{{style}}", pageCSS, "{{script}}", pageJS, "{{data}}", string(b),
	).WriteString(w, pageHTML)
	return err
}

func cspHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
