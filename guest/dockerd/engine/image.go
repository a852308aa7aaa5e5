package engine

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// HasImage reports whether the daemon has the image ref in its own store.
func (c *Client) HasImage(ctx context.Context, ref string) (bool, error) {
	err := c.do(ctx, http.MethodGet, "/images/"+ref+"/json", nil, nil, nil)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// Auth are credentials for a registry; the zero value is none.
type Auth struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
}

// Progress is how far a pull is. Bytes count compressed layers that the daemon has begun to download.
type Progress struct {
	Layers, Done int   // how many there are, and how many are there
	Bytes, Total int64 // downloaded, and of how many
}

// Pull has the daemon pull the image ref, and calls progress each time it tells how far it is. It returns when the
// image is there, or with the daemon's words about why it is not.
func (c *Client) Pull(ctx context.Context, ref string, auth Auth, progress func(Progress)) error {
	header := http.Header{}
	if auth != (Auth{}) {
		text, err := json.Marshal(auth)
		if err != nil {
			return fmt.Errorf("writing the credentials: %w", err)
		}
		header.Set("X-Registry-Auth", base64.URLEncoding.EncodeToString(text))
	}
	answer, err := c.open(ctx, http.MethodPost, "/images/create", url.Values{"fromImage": {withTag(ref)}}, header, nil)
	if err == nil {
		defer answer.Close()
		err = readPull(answer, progress)
	}
	if err != nil {
		return fmt.Errorf("pulling %s: %w", ref, err)
	}
	return nil
}

// withTag adds ":latest" to a reference without a tag or digest: the daemon would pull every tag there is.
func withTag(ref string) string {
	for i := len(ref) - 1; i >= 0; i-- {
		switch ref[i] {
		case ':', '@':
			return ref
		case '/':
			return ref + ":latest"
		}
	}
	return ref + ":latest"
}

// Bounds of a pull's messages. An image has at most 127 layers.
const (
	maxMessage = 1 << 20
	maxLayers  = 256
)

// readPull reads the stream of JSON messages that answers a pull.
func readPull(r io.Reader, progress func(Progress)) error {
	layers := layers{}
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxMessage)
	for scanner.Scan() {
		var m message
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			continue // what cannot be read cannot say that the pull failed
		}
		if m.Error != "" {
			return &Error{Status: http.StatusOK, Message: m.Error}
		}
		if layers.update(m) {
			progress(layers.sum())
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("reading docker's messages: %w", err)
	}
	return nil
}

// message is one message of a pull.
type message struct {
	ID             string `json:"id"` // of a layer, or the tag
	Status         string `json:"status"`
	ProgressDetail struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
	Error string `json:"error"`
}

// layers are those of the image that is pulled, by id.
type layers map[string]*layer

type layer struct {
	current, total int64 // compressed bytes
	done           bool
}

// update takes what a message says of a layer, and reports whether it says anything of one.
func (ls layers) update(m message) bool {
	l := ls[m.ID]
	if l == nil {
		// The tag has an id too, but is not announced.
		if (m.Status != "Pulling fs layer" && m.Status != "Already exists") || len(ls) >= maxLayers {
			return false
		}
		l = &layer{}
		ls[m.ID] = l
	}
	switch m.Status {
	case "Downloading":
		l.current, l.total = max(0, m.ProgressDetail.Current), max(0, m.ProgressDetail.Total)
	case "Download complete":
		l.current = l.total
	case "Pull complete", "Already exists":
		l.current, l.done = l.total, true
	}
	return true
}

func (ls layers) sum() Progress {
	p := Progress{Layers: len(ls)}
	for _, l := range ls {
		p.Bytes, p.Total = p.Bytes+l.current, p.Total+l.total
		if l.done {
			p.Done++
		}
	}
	return p
}
