package embed

import (
	"cmp"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image is a wanted image that was found.
type Image struct {
	Want
	Image v1.Image // of the one platform that boots it
	// Digests are what docker shall know the image by (RepoDigests): its own,
	// and that of the index that it was chosen from. None for an image that no
	// registry has.
	Digests []string
}

// Store is Docker's store (/var/lib/docker) with images, as layers for a root
// file system. Laid over each other in this order they are the store; each
// describes other paths, but that Head's folders are above all.
type Store struct {
	Head   *Layer   // folders, configurations and names
	Layers []*Layer // one for each distinct image layer, lower ones first
	Images []Stored // in the order given
}

// Stored is what docker will say of an image.
type Stored struct {
	ID      v1.Hash  // of its configuration
	Names   []string // RepoTags
	Digests []string // RepoDigests
	Source  string
	Layers  []*Layer // lowest first, shared with other images
}

// maxLayers is how many layers dockerd takes (moby, layer/layer_store.go:
// maxLayerDepth). The overlay2 driver would stack 128, but a container takes
// some of its own, and docker load and docker pull refuse more.
const maxLayers = 125

// NewStore lays images out as the overlay2 driver has them. It reads manifests
// and configurations, no layers. The images must have names that do not
// collide; see Merge.
func NewStore(images []Image) (*Store, error) {
	s := &Store{}
	known := map[v1.Hash]*Layer{}
	meta := metadata{configs: map[v1.Hash][]byte{}, names: map[string]map[string]string{}}
	for _, img := range images {
		stored, err := s.add(img, known, &meta)
		if err != nil {
			return nil, fmt.Errorf("embedding %s (%s): %w", img.Source, img.Origin, err)
		}
		s.Images = append(s.Images, *stored)
	}
	head, err := meta.layer()
	if err != nil {
		return nil, err
	}
	s.Head = head
	return s, nil
}

// add lays one image over those that the store has.
func (s *Store) add(img Image, known map[v1.Hash]*Layer, meta *metadata) (*Stored, error) {
	config, layers, err := readImage(img.Image)
	if err != nil {
		return nil, err
	}
	stored := &Stored{ID: config.id, Source: img.Source, Names: img.Names}
	var below *Layer
	for i, l := range layers {
		chain := chainID(below, config.diffIDs[i])
		here := known[chain]
		if here == nil {
			here = newLayer(below, l, config.diffIDs[i], chain)
			known[chain] = here
			s.Layers = append(s.Layers, here)
		}
		stored.Layers = append(stored.Layers, here)
		below = here
	}
	if stored.Digests, err = digestsOf(img); err != nil {
		return nil, err
	}
	meta.configs[config.id] = config.raw
	return stored, meta.name(config.id, slices.Concat(img.Names, stored.Digests))
}

// imageConfig is an image's configuration, verified.
type imageConfig struct {
	id      v1.Hash
	raw     []byte
	diffIDs []v1.Hash
	layers  []v1.Descriptor
}

func readConfig(img v1.Image) (*imageConfig, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	switch t := manifest.Config.MediaType; t {
	case types.DockerConfigJSON, types.OCIConfigJSON, "":
	default:
		return nil, fmt.Errorf("this is no container image: its configuration is %s", t)
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	sum := sha256.Sum256(raw)
	id := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	if id != manifest.Config.Digest {
		return nil, fmt.Errorf("its configuration is %s, the manifest says %s", id, manifest.Config.Digest)
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading its configuration: %w", err)
	}
	if config.RootFS.Type != "" && config.RootFS.Type != "layers" {
		return nil, fmt.Errorf("its root file system is of type %q; docker knows layers", config.RootFS.Type)
	}
	return &imageConfig{id, raw, config.RootFS.DiffIDs, manifest.Layers}, nil
}

// readImage reads what there is to know of an image that Docker can have.
func readImage(img v1.Image) (*imageConfig, []v1.Layer, error) {
	config, err := readConfig(img)
	if err != nil {
		return nil, nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, nil, err
	}
	return config, layers, checkLayers(len(layers), config)
}

func checkLayers(n int, config *imageConfig) error {
	switch {
	case n == 0:
		return errors.New("it has no layers, and docker cannot run it")
	case n != len(config.diffIDs):
		return fmt.Errorf("it has %d layers, but its configuration lists %d", n, len(config.diffIDs))
	case n > maxLayers:
		return fmt.Errorf("it has %d layers, and docker takes %d (docker pull says \"max depth exceeded\"): "+
			"make fewer of them, for example with crane flatten or podman build --squash-all", n, maxLayers)
	}
	for i, d := range config.layers {
		if !d.MediaType.IsDistributable() {
			return fmt.Errorf("layer %d (%s) is a foreign layer, which registries do not hand out: such images are for Windows", i+1, d.Digest)
		}
	}
	for i, id := range config.diffIDs {
		if id.Algorithm != "sha256" || len(id.Hex) != 64 {
			return fmt.Errorf("layer %d has the diff ID %s; docker knows sha256", i+1, id)
		}
	}
	return nil
}

// digestsOf are the references by digest that the image is known by.
func digestsOf(img Image) ([]string, error) {
	var out []string
	for _, d := range img.Digests {
		name, err := digestName(img.Source, d)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// chainID names a stack of layers (OCI image specification, config.md).
func chainID(below *Layer, diffID v1.Hash) v1.Hash {
	if below == nil {
		return diffID
	}
	sum := sha256.Sum256([]byte(below.chain.String() + " " + diffID.String()))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// cacheID names the folder of a stack's top layer, and link the short name
// that keeps mount options short. Docker draws both by lot; here they follow
// from the chain ID, so that the same layers give the same store.
func cacheID(chain v1.Hash) (id, link string) {
	sum := sha256.Sum256([]byte("docker overlay2 " + chain.String()))
	return hex.EncodeToString(sum[:]), base32.StdEncoding.EncodeToString(sum[:])[:26]
}

// metadata is what a store says of images beside their layers.
type metadata struct {
	configs map[v1.Hash][]byte
	names   map[string]map[string]string // repository -> reference -> ID
}

// name gives an image its names.
func (m *metadata) name(id v1.Hash, names []string) error {
	for _, name := range names {
		repository, err := repositoryOf(name)
		if err != nil {
			return err
		}
		if m.names[repository] == nil {
			m.names[repository] = map[string]string{}
		}
		if was := m.names[repository][name]; was != "" && was != id.String() {
			return fmt.Errorf("the name %s stands for two images, %s and %s", name, was, id)
		}
		m.names[repository][name] = id.String()
	}
	return nil
}

// layer are the files of the metadata. The folders are those that all other
// layers stand in.
func (m *metadata) layer() (*Layer, error) {
	names, err := json.Marshal(map[string]any{"Repositories": m.names})
	if err != nil {
		return nil, err
	}
	files := []file{
		dir("./", 0o710), dir("image", 0o700), dir(imageDir, 0o700),
		dir(imageDir+"/imagedb", 0o700), dir(imageDir+"/imagedb/content", 0o700), dir(configDir, 0o700),
		dir(imageDir+"/layerdb", 0o700), dir(layerDir, 0o700),
		dir(overlayDir, 0o710), dir(linkDir, 0o700),
		text(imageDir+"/repositories.json", 0o600, names),
	}
	ids := slices.SortedFunc(maps.Keys(m.configs), func(x, y v1.Hash) int { return cmp.Compare(x.Hex, y.Hex) })
	h := sha256.New()
	h.Write(names)
	for _, id := range ids {
		files = append(files, text(configDir+"/"+id.Hex, 0o600, m.configs[id]))
		fmt.Fprintf(h, "\n%s", id)
	}
	return &Layer{
		name: "names of images", identity: "docker-store-head-1-" + hex.EncodeToString(h.Sum(nil)),
		produce: func(w *output) error { return w.files(files) },
	}, nil
}

// Folders of the store.
const (
	imageDir   = "image/overlay2"
	configDir  = imageDir + "/imagedb/content/sha256"
	layerDir   = imageDir + "/layerdb/sha256"
	overlayDir = "overlay2"
	linkDir    = overlayDir + "/l"
)

// lower is the list of layers below, nearest first, as the driver mounts them.
func lower(below *Layer) string {
	var links []string
	for l := below; l != nil; l = l.below {
		_, link := cacheID(l.chain)
		links = append(links, "l/"+link)
	}
	return strings.Join(links, ":")
}
