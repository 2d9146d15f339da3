// Package descriptor compares our csi.proto, as compiled, with the one published for Go.
//
// We write the file ourselves, so nothing but this test keeps a wrong number out of it: both ends
// of our own tests would agree on the mistake.
package descriptor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// environment names the file that holds our descriptors, as `proto/examples/descriptor.rs` writes
// them. A test that passes when it is unset would pass in a build that forgot it.
const environment = "STEAD_DESCRIPTOR"

// ignored is what may differ between two descriptors of one interface: comments, where the file
// lies, and names that compilers derive or leave out as they like.
var ignored = map[protoreflect.FullName]bool{
	"google.protobuf.FileDescriptorProto.name":             true,
	"google.protobuf.FileDescriptorProto.source_code_info": true,
	"google.protobuf.FieldDescriptorProto.json_name":       true,
}

// facts holds each value of a descriptor under its path, where names stand for positions. It walks
// whatever is set rather than a list of properties, so there is none to forget.
type facts map[string]string

func (f facts) add(path, value string) {
	if before, ok := f[path]; ok {
		value = before + ", " + value
	}
	f[path] = value
}

func (f facts) message(path string, m protoreflect.Message) {
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		f.add(path+".unknown", fmt.Sprintf("%x", unknown))
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if ignored[field.FullName()] {
			return true
		}
		path := path + "." + string(field.Name())
		if field.IsExtension() {
			path = fmt.Sprintf("%s(%d)", path, field.Number())
		}
		switch {
		case field.IsMap():
			panic("no descriptor has a map: " + path)
		case field.IsList():
			for i := range value.List().Len() {
				f.element(path, field, value.List().Get(i))
			}
		default:
			f.value(path, field, value)
		}
		return true
	})
}

// element is one entry of a list. The order of declarations is not part of the interface.
func (f facts) element(path string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	if field.Message() == nil {
		f.add(fmt.Sprintf("%s[%v]", path, value), "present")
		return
	}
	key := ""
	switch element := value.Message().Interface().(type) {
	case interface{ GetName() string }:
		key = element.GetName()
	case interface {
		GetStart() int32
		GetEnd() int32
	}:
		key = fmt.Sprintf("%d to %d", element.GetStart(), element.GetEnd())
	default:
		panic("no key for an element of " + path)
	}
	path = fmt.Sprintf("%s[%s]", path, key)
	f.add(path, "present")
	f.message(path, value.Message())
}

func (f facts) value(path string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	switch {
	case field.Message() != nil:
		f.message(path, value.Message())
	case field.Enum() != nil:
		f.add(path, string(field.Enum().Values().ByNumber(value.Enum()).Name()))
	default:
		f.add(path, value.String())
	}
}

// namedOneofs replaces each index into a message's oneofs by the name there: two files may declare
// them in different order.
func namedOneofs(f facts, path string, messages []*descriptorpb.DescriptorProto) {
	for _, message := range messages {
		path := fmt.Sprintf("%s[%s]", path, message.GetName())
		for _, field := range message.GetField() {
			if field.OneofIndex != nil {
				path := fmt.Sprintf("%s.field[%s].oneof_index", path, field.GetName())
				f[path] = message.GetOneofDecl()[field.GetOneofIndex()].GetName()
			}
		}
		namedOneofs(f, path+".nested_type", message.GetNestedType())
	}
}

func factsOf(file *descriptorpb.FileDescriptorProto) facts {
	f := facts{}
	f.message("csi", file.ProtoReflect())
	namedOneofs(f, "csi.message_type", file.GetMessageType())
	return f
}

// difference says, by line, what is not the same in both.
func difference(ours, published *descriptorpb.FileDescriptorProto) []string {
	a, b := factsOf(ours), factsOf(published)
	var lines []string
	for path, value := range a {
		switch other, ok := b[path]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s: %s, not published", path, value))
		case value != other:
			lines = append(lines, fmt.Sprintf("%s: %s, published as %s", path, value, other))
		}
	}
	for path, value := range b {
		if _, ok := a[path]; !ok {
			lines = append(lines, fmt.Sprintf("%s: missing, published as %s", path, value))
		}
	}
	slices.Sort(lines)
	return lines
}

func published() *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(csi.File_csi_proto)
}

func compiled(t *testing.T) *descriptorpb.FileDescriptorProto {
	t.Helper()
	path := os.Getenv(environment)
	if path == "" {
		t.Fatalf("%s is unset: it names the output of `cargo run -p stead-proto --example descriptor`", environment)
	}
	bytes, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(bytes, &set); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var found []*descriptorpb.FileDescriptorProto
	for _, file := range set.GetFile() {
		if file.GetPackage() == "csi.v1" {
			found = append(found, file)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s: %d files of package csi.v1", path, len(found))
	}
	return found[0]
}

func TestTheInterfaceIsThePublishedOne(t *testing.T) {
	for _, line := range difference(compiled(t), published()) {
		t.Error(line)
	}
}

// A comparison that never fails proves nothing: each of these mistakes has to show.
func TestAMistakeIsReported(t *testing.T) {
	message := func(file *descriptorpb.FileDescriptorProto, name string) *descriptorpb.DescriptorProto {
		i := slices.IndexFunc(file.MessageType, func(m *descriptorpb.DescriptorProto) bool { return m.GetName() == name })
		return file.MessageType[i]
	}
	field := func(file *descriptorpb.FileDescriptorProto, name, field string) *descriptorpb.FieldDescriptorProto {
		fields := message(file, name).Field
		i := slices.IndexFunc(fields, func(f *descriptorpb.FieldDescriptorProto) bool { return f.GetName() == field })
		return fields[i]
	}
	mistakes := []struct {
		name   string
		mutate func(file *descriptorpb.FileDescriptorProto)
		expect string
	}{
		{"a renamed field", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "CreateVolumeRequest", "name").Name = proto.String("nom")
		}, "message_type[CreateVolumeRequest].field[nom]"},
		{"another number", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "CreateVolumeRequest", "name").Number = proto.Int32(99)
		}, "message_type[CreateVolumeRequest].field[name].number: 99, published as 1"},
		{"another type", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "CapacityRange", "limit_bytes").Type = descriptorpb.FieldDescriptorProto_TYPE_UINT64.Enum()
		}, "field[limit_bytes].type: TYPE_UINT64, published as TYPE_INT64"},
		{"another message as type", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "CreateVolumeResponse", "volume").TypeName = proto.String(".csi.v1.Snapshot")
		}, "field[volume].type_name: .csi.v1.Snapshot"},
		{"another label", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "TopologyRequirement", "preferred").Label = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum()
		}, "field[preferred].label: LABEL_OPTIONAL"},
		{"a field outside its oneof", func(file *descriptorpb.FileDescriptorProto) {
			field(file, "VolumeCapability", "block").OneofIndex = nil
		}, "field[block].oneof_index: missing, published as access_type"},
		{"a secret that is not marked", func(file *descriptorpb.FileDescriptorProto) {
			proto.ClearExtension(field(file, "NodeStageVolumeRequest", "secrets").Options, csi.E_CsiSecret)
		}, "field[secrets].options.csi_secret(1059): missing, published as true"},
		{"a missing field", func(file *descriptorpb.FileDescriptorProto) {
			m := message(file, "Snapshot")
			m.Field = m.Field[:len(m.Field)-1]
		}, "message_type[Snapshot].field[accessible_topology]: missing"},
		{"a reserved number in use", func(file *descriptorpb.FileDescriptorProto) {
			message(file, "NodeGetVolumeStatsResponse").ReservedRange = nil
		}, "reserved_range[2 to 3]: missing"},
		{"another enum value", func(file *descriptorpb.FileDescriptorProto) {
			rpc := message(file, "NodeServiceCapability").NestedType[0]
			rpc.EnumType[0].Value[1].Number = proto.Int32(9)
		}, "value[STAGE_UNSTAGE_VOLUME].number: 9, published as 1"},
		{"a reserved enum number in use", func(file *descriptorpb.FileDescriptorProto) {
			message(file, "NodeServiceCapability").NestedType[0].EnumType[0].ReservedRange = nil
		}, "reserved_range[4 to 4]: missing"},
		{"another extension number", func(file *descriptorpb.FileDescriptorProto) {
			file.Extension[0].Number = proto.Int32(1061)
		}, "extension[alpha_enum].number: 1061, published as 1060"},
		{"a missing method", func(file *descriptorpb.FileDescriptorProto) {
			file.Service[0].Method = file.Service[0].Method[1:]
		}, "service[Identity].method[GetPluginInfo]: missing"},
		{"another request", func(file *descriptorpb.FileDescriptorProto) {
			file.Service[0].Method[0].InputType = proto.String(".csi.v1.ProbeRequest")
		}, "method[GetPluginInfo].input_type: .csi.v1.ProbeRequest"},
		{"a stream", func(file *descriptorpb.FileDescriptorProto) {
			file.Service[0].Method[0].ServerStreaming = proto.Bool(true)
		}, "method[GetPluginInfo].server_streaming: true, not published"},
		{"another package", func(file *descriptorpb.FileDescriptorProto) {
			file.Package = proto.String("csi.v2")
		}, "csi.package: csi.v2, published as csi.v1"},
	}
	for _, mistake := range mistakes {
		t.Run(mistake.name, func(t *testing.T) {
			file := proto.Clone(compiled(t)).(*descriptorpb.FileDescriptorProto)
			mistake.mutate(file)
			lines := strings.Join(difference(file, published()), "\n")
			if !strings.Contains(lines, mistake.expect) {
				t.Errorf("%q is not in\n%s", mistake.expect, lines)
			}
		})
	}
}

// The reverse of the above: what the comparison ignores must not make it fail either.
func TestOrderAndCommentsDoNotMatter(t *testing.T) {
	file := proto.Clone(compiled(t)).(*descriptorpb.FileDescriptorProto)
	slices.Reverse(file.MessageType)
	slices.Reverse(file.Service)
	for _, message := range file.MessageType {
		slices.Reverse(message.Field)
		for _, field := range message.Field {
			field.JsonName = nil
		}
	}
	file.Name = proto.String("elsewhere.proto")
	file.SourceCodeInfo = &descriptorpb.SourceCodeInfo{}
	for _, line := range difference(file, published()) {
		t.Error(line)
	}
}
