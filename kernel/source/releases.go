package source

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxReleases bounds releases.json, which has 10 KB.
const maxReleases = 4 << 20

// newestRelease finds the point release of a series in kernel.org's
// releases.json. ok is false if the series is not in it: it lists those that
// are maintained.
func newestRelease(data []byte, series string) (r release, ok bool, err error) {
	var list struct {
		Releases []struct {
			Version string `json:"version"`
		} `json:"releases"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return r, false, errors.New("it is a web page (a login page or an error of the server?)")
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return r, false, fmt.Errorf("reading it: %w", err)
	}
	if len(list.Releases) == 0 {
		return r, false, errors.New("it lists no releases")
	}
	for _, entry := range list.Releases {
		found, valid := parseRelease(entry.Version)
		if valid && found.series() == series && (!ok || found.point > r.point) {
			r, ok = found, true
		}
	}
	return r, ok, nil
}
