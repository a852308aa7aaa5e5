package embed

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestSparse: of files with holes, in all forms that GNU tar writes (tar -S),
// the store has the whole content, and dockerd makes the layer's very bytes
// again, the map of the holes included.
func TestSparse(t *testing.T) {
	holes := make([]byte, 200<<10)
	copy(holes, "head")
	copy(holes[100_000:], "middle")
	want := map[string][]byte{"holes": holes, "plain": []byte("after")}
	archives := must(filepath.Glob("testdata/sparse-*.tar.gz"))
	if len(archives) != 4 {
		t.Fatalf("archives %q", archives)
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data := gunzip(t, must(os.ReadFile(name)))
			if len(data) > len(holes)/4 {
				t.Fatalf("%d bytes: not sparse", len(data))
			}
			layer := storeOf(t, static.NewLayer(data, types.DockerUncompressedLayer)).Layers[0]
			id, _ := cacheID(layer.ChainID())
			var split []byte
			got := map[string][]byte{}
			rc := must(layer.Uncompressed())
			defer rc.Close()
			for tr := tar.NewReader(rc); ; {
				hdr, err := tr.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if isSparse(hdr) {
					t.Errorf("%s is sparse", hdr.Name)
				}
				if filepath.Base(hdr.Name) == "tar-split.json.gz" {
					split = must(io.ReadAll(tr))
				}
				if rel, err := filepath.Rel("overlay2/"+id+"/diff", hdr.Name); err == nil && hdr.Typeflag == tar.TypeReg && filepath.IsLocal(rel) {
					got[rel] = must(io.ReadAll(tr))
				}
			}
			for file, content := range want {
				if !bytes.Equal(got[file], content) {
					t.Errorf("%s has %d bytes (%s...), want %d", file, len(got[file]), hex.EncodeToString(got[file][:min(8, len(got[file]))]), len(content))
				}
			}
			if len(got) != len(want) {
				t.Errorf("%d files, want %d", len(got), len(want))
			}
			if again := assemble(t, split, got); !bytes.Equal(again, data) {
				t.Errorf("put together again: %d bytes, want the %d of the layer", len(again), len(data))
			}
		})
	}
}
