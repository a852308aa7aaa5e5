package check

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
)

// ranges asks for a piece in the middle and for the end. Smee patches an ISO
// with ranges; iPXE and BMCs resume with them.
func (p *probe) ranges(ctx context.Context) error {
	last := p.size - 1
	from := p.size / 2
	to := min(from+4095, last)
	for _, r := range []struct {
		header   string
		from, to int64
	}{
		{fmt.Sprintf("bytes=%d-%d", from, to), from, to},
		{fmt.Sprintf("bytes=-%d", min(16, p.size)), p.size - min(16, p.size), last},
	} {
		a, err := p.request(ctx, http.MethodGet, "range", map[string]string{"Range": r.header}, 64<<10, nil)
		if err != nil || a == nil {
			return err
		}
		if a.StatusCode != http.StatusPartialContent {
			p.noRange(r.header, a.Status)
			return nil
		}
		if wrong, err := p.wrongRange(a, r.from, r.to); err != nil || wrong != "" {
			if wrong != "" {
				p.say("range", "ranges", Fail, "switch ranges off, or what stands between: a resumed download would be another file", "%s: %s", r.header, wrong)
			}
			return err
		}
	}
	p.say("range", "ranges", Pass, "", "206 with the right bytes")
	return nil
}

func (p *probe) noRange(header, status string) {
	if p.iso {
		p.say("range", "ranges", Fail, "use a server with ranges (nginx, Apache, any S3): Smee answers a BMC's ranges from the server's", "%s is answered with %s, not 206", header, status)
		return
	}
	p.say("range", "ranges", Warn, "use a server with ranges: a broken download begins again from the start", "%s is answered with %s, not 206", header, status)
}

// wrongRange says what is wrong with a 206, compared with the download.
func (p *probe) wrongRange(a *answer, from, to int64) (string, error) {
	want := make([]byte, to-from+1)
	f, err := os.Open(p.files.names[p.name])
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.ReadAt(want, from); err != nil {
		return "", err
	}
	if said, right := a.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", from, to, p.size); said != right {
		return fmt.Sprintf("Content-Range is %q, should be %q", said, right), nil
	}
	if a.err != nil || !bytes.Equal(a.body, want) {
		return fmt.Sprintf("%d bytes that are not those of the file", len(a.body)), nil
	}
	return "", nil
}

// ifRange tries a resumption: with the right validator the rest, with another
// the whole, or a client would join two builds.
func (p *probe) ifRange(ctx context.Context) error {
	const id, title = "ifrange", "If-Range"
	validator := p.get.Header.Get("ETag")
	if validator == "" || validator[0] != '"' {
		validator = p.get.Header.Get("Last-Modified")
	}
	if validator == "" {
		p.say(id, title, Warn, "let the server send ETag or Last-Modified", "neither is there: a client that resumes cannot know that the file was replaced")
		return nil
	}
	same, err := p.request(ctx, http.MethodGet, id, map[string]string{"Range": "bytes=0-0", "If-Range": validator}, 16, nil)
	if err != nil || same == nil {
		return err
	}
	other, err := p.request(ctx, http.MethodGet, id, map[string]string{"Range": "bytes=0-0", "If-Range": `"hooksmith-no-such-version"`}, 16, nil)
	if err != nil || other == nil {
		return err
	}
	switch {
	case other.StatusCode == http.StatusPartialContent:
		p.say(id, title, Warn, "use a server that heeds If-Range, or publish each build under a path of its own", "it is not heeded: a download that is resumed after a new build would be half of each")
	case same.StatusCode != http.StatusPartialContent:
		p.say(id, title, Pass, "", "answered with the whole file")
	default:
		p.say(id, title, Pass, "", "heeded")
	}
	return nil
}
