package embed

import (
	"errors"
	"fmt"
	"strings"
)

// maxImagesFile bounds an images.txt: every image is at least a request.
const (
	maxImagesFile  = 1 << 20
	maxImagesLines = 1000
)

// ParseImagesFile reads upstream's images.txt (images/hook-embedded): on each
// line a source image, optionally another name for it, and then "true" to
// remove its own name. Empty lines and what follows a # are comments. Errors
// have file and line.
func ParseImagesFile(file string, data []byte) ([]Want, error) {
	if len(data) > maxImagesFile {
		return nil, fmt.Errorf("%s: %d bytes; a list of images has at most %d", file, len(data), maxImagesFile)
	}
	var list []Want
	for i, line := range strings.Split(strings.TrimPrefix(string(data), "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#") // no reference has one
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		at := fmt.Sprintf("%s:%d", file, i+1)
		if len(list) == maxImagesLines {
			return nil, fmt.Errorf("%s: more than %d images", at, maxImagesLines)
		}
		w, err := parseLine(fields, at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		list = append(list, w)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no image in it; a line is: SOURCE [NAME [true]]", file)
	}
	return list, nil
}

func parseLine(fields []string, at string) (Want, error) {
	if strings.HasPrefix(fields[0], "<") {
		return Want{}, errors.New("this is HTML, not a list of images: is the URL that of the raw file?")
	}
	if len(fields) > 3 {
		return Want{}, fmt.Errorf("%d words; a line is: SOURCE [NAME [true]]", len(fields))
	}
	w, err := newWant(fields[0], at)
	if err != nil {
		return w, err
	}
	remove := false
	if len(fields) == 3 {
		switch fields[2] {
		case "true":
			remove = true
		case "false":
		default:
			return w, fmt.Errorf("%q: the third word is true, to remove the original name, or false", fields[2])
		}
	}
	if !remove {
		if w.Names, err = ownName(fields[0]); err != nil {
			return w, err
		}
	}
	if len(fields) > 1 {
		if fields[1] == "true" || fields[1] == "false" { // upstream would name it true:latest
			return w, fmt.Errorf("%q is where the new name belongs; a line is: SOURCE [NAME [true]]", fields[1])
		}
		name, err := tagged(fields[1])
		if err != nil {
			return w, err
		}
		w.Names = append(w.Names, name)
	}
	return w, nil
}
