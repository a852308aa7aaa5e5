package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// storeDir is Docker's own folder for images, wherever its data root is:
// etc/embedded-images in ours, var/lib/docker or images in others.
const storeDir = "image/overlay2/"

// images reads Docker's stores in the tree (docker-store: repositories.json,
// imagedb, layerdb).
func (t *tree) images() []Image {
	const maxStores = 16
	byID := map[string]*Image{}
	stores := 0
	for _, p := range t.paths {
		if dir, base := path.Split(p); base == "repositories.json" && strings.HasSuffix(dir, storeDir) && stores < maxStores {
			stores++
			t.readStore(dir, byID)
		}
	}
	out := make([]Image, 0, len(byID))
	for _, img := range byID {
		slices.Sort(img.Names)
		slices.Sort(img.Digests)
		out = append(out, *img)
	}
	slices.SortFunc(out, func(a, b Image) int {
		return strings.Compare(strings.Join(a.Names, " ")+a.ID, strings.Join(b.Names, " ")+b.ID)
	})
	return out
}

// readStore adds the images of one store. Those without a name are found too.
func (t *tree) readStore(dir string, byID map[string]*Image) {
	repositories, err := parseRepositories(t.content(dir + "repositories.json"))
	if err != nil {
		t.warnings = append(t.warnings, fmt.Sprintf("%srepositories.json: %v; docker will have no image", dir, err))
	}
	contents := dir + "imagedb/content/sha256/"
	for _, p := range t.paths {
		if id, ok := strings.CutPrefix(p, contents); ok && !strings.Contains(id, "/") && t.nodes[p].inode != nil {
			t.readImage(dir, "sha256:"+id, byID)
		}
	}
	for ref, id := range repositories {
		img := byID[id]
		if img == nil {
			t.warnings = append(t.warnings, fmt.Sprintf("%srepositories.json: %s is image %s, which the store does not have", dir, ref, id))
			continue
		}
		if strings.Contains(ref, "@sha256:") {
			img.Digests = append(img.Digests, ref)
		} else {
			img.Names = append(img.Names, ref)
		}
	}
}

// parseRepositories is all references of repositories.json with their image ids.
func parseRepositories(b []byte) (map[string]string, error) {
	var file struct{ Repositories map[string]map[string]string }
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, refs := range file.Repositories {
		for ref, id := range refs {
			out[ref] = id
		}
	}
	return out, nil
}

// imageConfig is what is of interest in an image's configuration.
type imageConfig struct {
	Architecture string
	RootFS       struct {
		DiffIDs []string `json:"diff_ids"`
	}
}

func (t *tree) readImage(dir, id string, byID map[string]*Image) {
	b := t.content(dir + "imagedb/content/sha256/" + strings.TrimPrefix(id, "sha256:"))
	if sum := sha256.Sum256(b); b != nil && "sha256:"+hex.EncodeToString(sum[:]) != id {
		t.warnings = append(t.warnings, fmt.Sprintf("image %s: its configuration has another digest; docker ignores the image", id))
	}
	img := &Image{ID: id, Names: []string{}}
	byID[id] = img
	var c imageConfig
	if err := json.Unmarshal(b, &c); err != nil {
		t.warnings = append(t.warnings, fmt.Sprintf("image %s: configuration: %v", id, err))
		return
	}
	img.Arch, img.Layers = c.Architecture, len(c.RootFS.DiffIDs)
	chain := ""
	for _, diff := range c.RootFS.DiffIDs {
		chain = chainID(chain, diff)
		layer := dir + "layerdb/" + strings.Replace(chain, ":", "/", 1)
		size, err := strconv.ParseInt(strings.TrimSpace(string(t.content(layer+"/size"))), 10, 64)
		if err != nil || strings.TrimSpace(string(t.content(layer+"/diff"))) != diff {
			img.Missing = append(img.Missing, diff)
			continue
		}
		img.Size += size
	}
	if len(img.Missing) > 0 {
		t.warnings = append(t.warnings, fmt.Sprintf("image %s: %d of its layers are not in the store; docker ignores the image", id, len(img.Missing)))
	}
}

// chainID names a layer together with all below it.
func chainID(parent, diff string) string {
	if parent == "" {
		return diff
	}
	sum := sha256.Sum256([]byte(parent + " " + diff))
	return "sha256:" + hex.EncodeToString(sum[:])
}
