package embed

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	dockerbuild "github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	dockerimage "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerfile makes in a few layers what layers can say. It is built by the
// classic builder, which needs nothing from the network.
const dockerfile = `FROM scratch
ADD base.tar /
RUN mkdir -p /d/sub /opq /rep && echo 1 >/d/a && echo 2 >/d/sub/b && echo x >/opq/old && echo y >/rep/f && echo file >/tofolder && mkdir /tofile && echo z >/tofile/inner && echo link >/hl1
RUN rm /d/a && rm -r /d/sub /opq && mkdir -m 750 /opq && echo new >/opq/new && rm /tofolder && mkdir /tofolder && echo in >/tofolder/x && rm -r /tofile && echo now >/tofile
RUN ln /hl1 /hl2 && cp /bin/busybox /bin/suid && chmod 4755 /bin/suid && chown 12:34 /d && mkfifo /fifo && ln -s /nowhere /sym && mknod /null2 c 1 3 && chown -h 7:8 /sym
RUN echo changed >>/hl2 && rm -r /rep && ln -s d /rep && rm /d/* || true
CMD ["/bin/sh", "-c", "echo hello from $(cat /hl1)"]
`

// baseTar is a small root file system with a shell.
func baseTar() []byte {
	program := string(must(os.ReadFile(must(exec.LookPath("busybox")))))
	entries := []entrySpec{
		folder("./"), folder("bin/"), regular("bin/busybox", program, mode(0o755)), folder("tmp/", mode(0o1777)), folder("etc/"),
		regular("etc/passwd", "root:x:0:0::/:/bin/sh\n"), folder("proc/"), folder("sys/"), folder("dev/"),
	}
	for _, applet := range []string{"sh", "cat", "chmod", "chown", "cp", "echo", "ln", "mkdir", "mkfifo", "mknod", "rm", "sleep", "true"} {
		entries = append(entries, symlink("bin/"+applet, "busybox"))
	}
	return tarOf(entries...)
}

// handmade has what docker build cannot make.
func handmade() v1.Image {
	return imageOf(
		must(tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(baseTar())), nil })),
		layerOf(folder("o/", mode(0o711)), folder("o/deep/"), regular("o/deep/old", "1"), regular("o/x", "2"), folder("c/"),
			regular("c/ping", "program", mode(0o755), xattr("security.capability", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")),
			folder("was/"), regular("was/in", "3"), regular("f", "file"), regular("h1", "linked"), hardlink("h2", "h1"), folder("gone/"), regular("gone/x", "")),
		layerOf(folder("o/", mode(0o700), owner(100000, 200000)), whiteout("o/.wh..wh..opq"), regular("o/new", "4", owner(1<<31, 5), mode(0o2755)),
			whiteout(".wh.gone"), symlink("was", "c"), folder("f/"), regular("f/now", "5", mode(0o600)), regular("h1", "another"),
			spec(tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o622, Uid: 9, Gid: 10}, "", nil),
			spec(tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o660, Devmajor: 259, Devminor: 70000}, "", nil),
			regular(strings.Repeat("long/", 40)+"name", "6"), regular("sp ace\"'\u00fc", "7", mode(0))),
		layerOf(folder("o/", mode(0o701)), whiteout("o/.wh.new"), regular("o/newer", "8"), regular("c/more", "9"), folder("c/", mode(0o750), owner(1, 2))),
		layerOf(hardlinkPair("deep/a", "deep/b")...),
	)
}

// looseImage leaves to lower layers what tools other than docker leave to them:
// folders that ko and Jib do not repeat, which docker then shows as 0755 of
// root, and the target of a hard link, which makes docker refuse the layer.
func looseImage() v1.Image {
	return imageOf(layerOf(folder("tmp/", mode(0o1777)), folder("etc/", owner(3, 4))), static.NewLayer(baseTar(), types.DockerUncompressedLayer),
		layerOf(regular("tmp/app", "app"), hardlink("pw", "etc/passwd")))
}

func checkLoose(t *testing.T, files map[string]string) {
	t.Helper()
	if got := files["tmp"]; got != "mode 41777 owner 0:0" {
		t.Errorf("/tmp: %s", got)
	}
	if got := files["pw"]; got != files["etc/passwd"] || !strings.Contains(got, "names 2 ") {
		t.Errorf("a hard link to a lower layer: %q, its target %q", got, files["etc/passwd"])
	}
}

// hardlinkPair is a file with two names.
func hardlinkPair(a, b string) []entrySpec {
	return []entrySpec{folder(filepath.Dir(a) + "/"), regular(a, "twice"), hardlink(b, a)}
}

// TestDocker: the store is what a real Docker makes of the same images: they
// are there when it starts, with their IDs and digests; their containers see
// the same files; and save, tag, commit, rmi and pull do what they do.
func TestDocker(t *testing.T) {
	needRoot(t)
	reference := startDockerd(t, "", nil)
	t.Log(reference.version(t))
	registry := startRegistry(t)
	built := registry.push(t, "test/built:1", buildImage(t, reference))
	made := registry.push(t, "test/made:1", handmade())
	reference.load(t, "made:1", made)

	loose := registry.push(t, "test/loose:1", looseImage())

	s, err := NewStore([]Image{
		{Want: Want{Source: registry.host + "/test/built:1", Names: []string{"127.0.0.1/embedded/built:latest", "built:1"}}, Image: built, Digests: []string{digest("e"), must(built.Digest()).String()}},
		{Want: Want{Source: registry.host + "/test/made:1", Names: []string{"127.0.0.1/embedded/made:latest"}}, Image: made, Digests: []string{must(made.Digest()).String()}},
		{Want: Want{Source: registry.host + "/test/loose:1", Names: []string{"127.0.0.1/embedded/loose:latest"}}, Image: loose},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{"built": reference.files(t, "built:1"), "made": reference.files(t, "made:1")}
	for _, newer := range []bool{false, true} {
		t.Run(map[bool]string{false: "this machine's", true: "HookOS's"}[newer], func(t *testing.T) {
			root := ""
			if newer {
				root = newerDocker(t)
			}
			d := startDockerd(t, root, fillWith(t, s))
			t.Log(d.version(t))
			d.inspect(t, s, built, made, loose)
			for image, files := range want {
				diffFiles(t, image, d.files(t, "127.0.0.1/embedded/"+image), files)
			}
			checkLoose(t, d.files(t, "127.0.0.1/embedded/loose"))
			d.pullAgain(t, registry, built)
			d.save(t, reference, built, made)
			d.change(t, s)
		})
	}
}

// buildImage builds the Dockerfile, and returns the image as docker save has it.
func buildImage(t *testing.T, d *dockerd) v1.Image {
	t.Helper()
	base := baseTar()
	body := tarOf(regular("Dockerfile", dockerfile), regular("base.tar", string(base)))
	answer, err := d.ImageBuild(t.Context(), bytes.NewReader(body), dockerbuild.ImageBuildOptions{Tags: []string{"built:1"}, NetworkMode: "none", Version: dockerbuild.BuilderV1})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said := must(io.ReadAll(answer.Body))
	if bytes.Contains(said, []byte(`"errorDetail"`)) {
		t.Fatalf("docker build: %s", said)
	}
	return d.saved(t, "built:1")
}

// saved is an image as docker save gives it.
func (d *dockerd) saved(t *testing.T, ref string) v1.Image {
	t.Helper()
	rc, err := d.ImageSave(t.Context(), []string{ref})
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	path := filepath.Join(t.TempDir(), "image.tar")
	f := must(os.Create(path))
	_, err = io.Copy(f, rc)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatalf("what docker save gave: %v", err)
	}
	return img
}

// load does docker load.
func (d *dockerd) load(t *testing.T, ref string, img v1.Image) {
	t.Helper()
	var b bytes.Buffer
	if err := tarball.Write(must(name.NewTag(ref)), img, &b); err != nil {
		t.Fatal(err)
	}
	answer, err := d.ImageLoad(t.Context(), &b)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said := must(io.ReadAll(answer.Body)); bytes.Contains(said, []byte(`"error"`)) {
		t.Fatalf("docker load: %s", said)
	}
}

// inspect: names, IDs, digests and layers are the images' own.
func (d *dockerd) inspect(t *testing.T, s *Store, images ...v1.Image) {
	t.Helper()
	all, err := d.ImageList(t.Context(), dockerimage.ListOptions{})
	if err != nil || len(all) != len(images) {
		t.Fatalf("docker images: %d, want %d; error %v", len(all), len(images), err)
	}
	for i, stored := range s.Images {
		for _, ref := range append(slices.Clone(stored.Names), stored.Digests...) {
			got, err := d.ImageInspect(t.Context(), ref)
			if err != nil {
				t.Errorf("docker inspect: %v", err)
				continue
			}
			config := must(images[i].ConfigFile())
			var diffIDs []string
			for _, id := range config.RootFS.DiffIDs {
				diffIDs = append(diffIDs, id.String())
			}
			slices.Sort(got.RepoTags)
			slices.Sort(got.RepoDigests)
			if got.ID != must(images[i].ConfigName()).String() || !slices.Equal(got.RootFS.Layers, diffIDs) {
				t.Errorf("%s is %s with the layers %v", ref, got.ID, got.RootFS.Layers)
			}
			if !slices.Equal(got.RepoTags, stored.Names) || !slices.Equal(got.RepoDigests, stored.Digests) {
				t.Errorf("%s has the names %v and %v", ref, got.RepoTags, got.RepoDigests)
			}
		}
	}
}

// start runs a container that stays, and returns its ID and process.
func (d *dockerd) start(t *testing.T, ref string, command ...string) (id string, pid int) {
	t.Helper()
	config := &container.Config{Image: ref}
	if len(command) > 0 {
		config.Entrypoint, config.Cmd = command[:1], command[1:]
	}
	created, err := d.ContainerCreate(t.Context(), config, &container.HostConfig{NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		t.Fatalf("docker create %s: %v", ref, err)
	}
	if err := d.ContainerStart(t.Context(), created.ID, container.StartOptions{}); err != nil {
		t.Fatalf("docker start %s: %v", ref, err)
	}
	info, err := d.ContainerInspect(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	return created.ID, info.State.Pid
}

func (d *dockerd) remove(t *testing.T, id string) {
	t.Helper()
	if err := d.ContainerRemove(context.WithoutCancel(t.Context()), id, container.RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

// output runs a container to its end.
func (d *dockerd) output(t *testing.T, ref string, command ...string) string {
	t.Helper()
	id, _ := d.start(t, ref, command...)
	defer d.remove(t, id)
	done, failed := d.ContainerWait(t.Context(), id, container.WaitConditionNotRunning)
	select {
	case <-done:
	case err := <-failed:
		t.Fatal(err)
	}
	var b bytes.Buffer
	await(t, "the log", func() error { // may be written after the container has ended
		b.Reset()
		rc, err := d.ContainerLogs(t.Context(), id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
		if err != nil {
			return err
		}
		defer rc.Close()
		_, err = stdcopy.StdCopy(&b, &b, rc)
		if err == nil && b.Len() == 0 {
			return errors.New("it is empty")
		}
		return err
	})
	return strings.TrimSpace(b.String())
}

// save: the layers come out as they went in, and load elsewhere.
func (d *dockerd) save(t *testing.T, elsewhere *dockerd, images ...v1.Image) {
	t.Helper()
	for i, ref := range []string{"127.0.0.1/embedded/built", "127.0.0.1/embedded/made"} {
		img := d.saved(t, ref)
		got, want := must(img.ConfigFile()), must(images[i].ConfigFile())
		if must(img.ConfigName()) != must(images[i].ConfigName()) || !reflect.DeepEqual(got.RootFS, want.RootFS) {
			t.Errorf("docker save %s: %v, want %v", ref, got.RootFS, want.RootFS)
		}
		for j, l := range must(img.Layers()) {
			rc := must(l.Uncompressed())
			h := sha256.New()
			if _, err := io.Copy(h, rc); err != nil {
				t.Fatal(err)
			}
			rc.Close()
			if sum := hex.EncodeToString(h.Sum(nil)); sum != want.RootFS.DiffIDs[j].Hex {
				t.Errorf("docker save %s: layer %d has the diff ID %s, want %s", ref, j+1, sum, want.RootFS.DiffIDs[j])
			}
		}
		elsewhere.load(t, fmt.Sprintf("again:%d", i), img)
	}
	if got := elsewhere.output(t, "again:0"); got != "hello from link" {
		t.Errorf("what was saved and loaded elsewhere says %q", got)
	}
}

// change: containers, new names, new images, and their end.
func (d *dockerd) change(t *testing.T, s *Store) {
	t.Helper()
	const ref = "127.0.0.1/embedded/built:latest"
	if got := d.output(t, ref); got != "hello from link" {
		t.Errorf("docker run: %q", got)
	}
	if err := d.ImageTag(t.Context(), ref, "other/name:2"); err != nil {
		t.Error(err)
	}
	id, _ := d.start(t, ref, "/bin/sh", "-c", "echo committed >/etc/new; rm /hl2; exec sleep 1000")
	await(t, "the container", func() error { // its change is made before sleep replaces the shell
		rc, _, err := d.CopyFromContainer(t.Context(), id, "/etc/new")
		if err != nil {
			return err
		}
		defer rc.Close()
		if lines, err := list(rc); err != nil || !strings.Contains(fmt.Sprint(lines), "committed") {
			return fmt.Errorf("%q %v", lines, err)
		}
		if _, err := d.ContainerStatPath(t.Context(), id, "/hl2"); !errdefs.IsNotFound(err) {
			return fmt.Errorf("/hl2 is still there: %v", err)
		}
		return nil
	})
	if _, err := d.ContainerCommit(t.Context(), id, container.CommitOptions{Reference: "committed:1"}); err != nil {
		t.Errorf("docker commit: %v", err)
	}
	d.remove(t, id)
	if got := d.output(t, "committed:1", "/bin/sh", "-c", "cat /etc/new /hl2"); !strings.Contains(got, "committed") || !strings.Contains(got, "'/hl2': No such file") {
		t.Errorf("docker run of what was committed: %q", got)
	}
	for _, img := range []string{"committed:1", "other/name:2", s.Images[0].ID.String(), s.Images[1].ID.String(), s.Images[2].ID.String()} {
		if _, err := d.ImageRemove(t.Context(), img, dockerimage.RemoveOptions{Force: true, PruneChildren: true}); err != nil {
			t.Errorf("docker rmi %s: %v", img, err)
		}
	}
	if all, err := d.ImageList(t.Context(), dockerimage.ListOptions{All: true}); err != nil || len(all) > 0 {
		t.Errorf("after docker rmi: %v, %v", all, err)
	}
	for _, dir := range []string{"overlay2/*/diff", "overlay2/l/*", "image/overlay2/layerdb/sha256/*", "image/overlay2/imagedb/content/sha256/*"} {
		if left := must(filepath.Glob(filepath.Join(d.data, dir))); len(left) > 0 {
			t.Errorf("docker rmi leaves %q", left)
		}
	}
}

// pullAgain: a pull by the digest of an embedded image fetches nothing.
func (d *dockerd) pullAgain(t *testing.T, r *testRegistry, img v1.Image) {
	t.Helper()
	ref := r.host + "/test/built@" + must(img.Digest()).String()
	before := r.blobs.Load()
	rc, err := d.ImagePull(t.Context(), ref, dockerimage.PullOptions{})
	if err != nil {
		t.Errorf("docker pull: %v", err)
		return
	}
	defer rc.Close()
	said := must(io.ReadAll(rc))
	if !bytes.Contains(said, []byte("Image is up to date")) || bytes.Contains(said, []byte("Pull complete")) {
		t.Errorf("docker pull %s: %s", ref, said)
	}
	if n := r.blobs.Load() - before; n > 0 {
		t.Errorf("docker pull of what is there fetched %d blobs", n)
	}
}
