package kernel
import "testing"
func TestZZ(t *testing.T){
 for _,k:=range allReal{
  o,err:=OpenDebian(k.tree(t),k.arch); if err!=nil{t.Fatal(err)}
  t.Logf("%s %+v %d %s",o.Release,o.Image,len(o.Config),o.ModulesDir)
 }
}
