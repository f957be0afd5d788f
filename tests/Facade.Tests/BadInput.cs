using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>What the C# door says to input that it cannot use.</summary>
public static class BadInput
{
    [Tests]
    public static Test Tests => TestList(
        "BadInput",
        [
            TestList("options", options.Select(o => TestCase(o.name, () => Refuses(o.bad, o.code, o.says)))),
            TestCase("all faults of the options at once", AllAtOnce),
            TestCase("a folder that cannot be written", NotWritable),
            TestCase("an encoder that is missing or damaged", BadCheckpoint),
            TestCase("a run that is finished already", Finished),
            TestCase("options of an evaluation", BadEvaluation),
            TestCase("tensors of a wrong shape or type", BadTensors),
            TestCase("a threat that is none", BadThreat),
            TestCase("null where there must be something", Nulls),
            TestCase("an encoder that was disposed", Disposed),
            TestCase("every fault of the core has a code", EveryCode),
        ]);

    private static readonly (string name, PretrainOptions bad, ErrorCode code, string says)[] options =
    [
        ("method", Tiny.Options with { Method = "acl-sd" }, ErrorCode.UnknownName, "'acl-ds'"),
        ("data set", Tiny.Options with { Dataset = "samples" }, ErrorCode.UnknownName, "sample"),
        ("network", Tiny.Options with { Network = "resnet19" }, ErrorCode.UnknownName, "'resnet18'"),
        ("optimiser", Tiny.Options with { Optimizer = "adamm" }, ErrorCode.UnknownName, "'adam'"),
        ("precision", Tiny.Options with { Precision = "float8" }, ErrorCode.UnknownName, "float32"),
        ("device", Tiny.Options with { Device = "tpu" }, ErrorCode.BadOption, "cpu"),
        ("images", Tiny.Options with { Images = 0 }, ErrorCode.BadOption, "2 or more"),
        ("epochs", Tiny.Options with { Epochs = -1 }, ErrorCode.BadOption, "1 or more"),
        ("batch", Tiny.Options with { Batch = 0 }, ErrorCode.BadOption, "2 or more"),
        ("threads", Tiny.Options with { Threads = 0 }, ErrorCode.BadOption, "1 or more"),
        ("width", Tiny.Options with { Width = 5000 }, ErrorCode.BadOption, "1 to 1024"),
        ("learning rate", Tiny.Options with { LearningRate = double.NaN }, ErrorCode.BadOption, "above 0"),
        ("rate alone", Tiny.Options with { Optimizer = null, LearningRate = 1 }, ErrorCode.BadOption, "adam"),
        ("given", Tiny.Options with { Given = Given("teacher") }, ErrorCode.BadOption, "no stage"),
        ("no folder", Tiny.Options with { Dataset = "cifar10" }, ErrorCode.BadOption, "folder"),
        ("missing", Tiny.Options with { Dataset = "cifar10", Data = "missing" }, ErrorCode.Missing, "'missing'"),
    ];

    private static Dictionary<string, string> Given(string stage) => new() { [stage] = "runs/none" };

    private static AdvContrastException Fault(Action action) =>
        Throws<AdvContrastException>(action, "a fault");

    private static void Refuses(PretrainOptions bad, ErrorCode code, string says)
    {
        using var folder = new Folder();
        var raised = Fault(() => Tiny.Wait(Workbench.PretrainAsync(bad with { Out = folder.At("run") })));
        Expect.equal(raised.Code, code, raised.Message);
        Expect.stringContains(raised.Message, says, "what to do");
        Expect.isFalse(raised.Message.Contains('\n'), "one sentence");
        Expect.isEmpty(Directory.GetFileSystemEntries(folder.Path), "nothing left behind");
    }

    private static void AllAtOnce()
    {
        var bad = Tiny.Options with { Method = "none", Epochs = 0, Batch = 0, Device = "tpu" };
        var raised = Fault(() => Tiny.Wait(Workbench.PretrainAsync(bad)));
        Expect.hasLength(raised.Faults, 4, raised.Message);
        Expect.equal(raised.Code, raised.Faults[0].Code, "the first fault's code");
        foreach (var fault in raised.Faults) Expect.stringContains(raised.Message, fault.Message, "all");
    }

    private static void NotWritable()
    {
        using var folder = new Folder();
        File.WriteAllText(folder.At("file"), "");
        var bad = Tiny.Options with { Out = folder.At("file/run") };
        var raised = Fault(() => Tiny.Wait(Workbench.PretrainAsync(bad)));
        Expect.equal(raised.Code, ErrorCode.NotWritable, "below a file");
    }

    private static void BadCheckpoint()
    {
        using var folder = new Folder();
        var before = Tiny.Live();
        void Check(ErrorCode code)
        {
            Expect.equal(Fault(() => Encoder.Load(folder.Path)).Code, code, "loading");
            Expect.equal(Fault(() => Tiny.Wait(Workbench.ResumeAsync(folder.Path))).Code, code, "going on");
        }

        Check(ErrorCode.Missing);
        var file = folder.At("checkpoint.safetensors");
        File.WriteAllText(file, "these are not weights");
        Check(ErrorCode.Damaged);

        File.Delete(file);
        Tiny.Wait(Workbench.PretrainAsync(Tiny.Options with { Out = folder.Path })).Dispose();
        var bytes = File.ReadAllBytes(file);
        File.WriteAllBytes(file, bytes[..(bytes.Length / 2)]);
        Check(ErrorCode.Damaged);
        bytes[^1] ^= 1;
        File.WriteAllBytes(file, bytes);
        Check(ErrorCode.Damaged);
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors");
    }

    private static void Finished()
    {
        using var folder = new Folder();
        Tiny.Wait(Workbench.PretrainAsync(Tiny.Options with { Out = folder.Path })).Dispose();
        var raised = Fault(() => Tiny.Wait(Workbench.ResumeAsync(folder.Path)));
        Expect.equal(raised.Code, ErrorCode.BadOption, raised.Message);
        Expect.stringContains(raised.Message, "finished", "why");
    }

    private static void BadEvaluation()
    {
        using var encoder = Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;
        var bad = new EvaluateOptions { Attacks = ["pgd-20", "pdg-20", "pgd-0"], Images = 0, Threads = 0 };
        var raised = Fault(() => Tiny.Wait(Workbench.EvaluateAsync(encoder, bad)));
        Expect.sequenceEqual(
            raised.Faults.Select(fault => fault.Code),
            [ErrorCode.UnknownName, ErrorCode.BadOption, ErrorCode.BadOption, ErrorCode.BadOption],
            raised.Message);

        var missing = new EvaluateOptions { Dataset = "fashion-mnist", Data = "/no/such" };
        var code = Fault(() => Tiny.Wait(Workbench.EvaluateAsync(encoder, missing))).Code;
        Expect.equal(code, ErrorCode.Missing, "no such folder");
    }

    private static void BadTensors()
    {
        using var scope = torch.NewDisposeScope();
        using var encoder = Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;
        var images = Tiny.Images(2);
        var labels = torch.tensor([0L, 1]);

        ArgumentException Refused(Action action) => Throws<ArgumentException>(action, "a refusal");
        void Attack(torch.Tensor x, torch.Tensor y) =>
            Workbench.Attack(encoder.Features, x, y, Threat.Linf(0.1), "fgsm").Dispose();

        Attack(images, labels);
        Expect.stringContains(Refused(() => encoder.Features(images[0])).Message, "[1; 28; 28]", "the shape");
        Refused(() => encoder.Features(images.to(torch.uint8)));
        Refused(() => Attack(images[0], labels));
        Refused(() => Attack(images, torch.tensor([0L, 1, 2])));
        Refused(() => Attack(images, labels.to(torch.int32)));
        Refused(() => Attack(images, labels.reshape(2, 1)));
        var unknown = Fault(() =>
            Workbench.Attack(encoder.Features, images, labels, Threat.Linf(0.1), "circle").Dispose());
        Expect.equal(unknown.Code, ErrorCode.UnknownName, "an attack that there is not");
    }

    private static void BadThreat()
    {
        Throws<ArgumentException>(() => Threat.Linf(-0.1), "a negative radius");
        Throws<ArgumentException>(() => Threat.L2(double.PositiveInfinity), "an infinite radius");
        foreach (var text in new[] { "", "linf", "linf:", "linf:x", "l3:1", "linf:1/0", "l2:-1" })
            Expect.equal(Fault(() => Threat.Parse(text)).Code, ErrorCode.BadOption, text);
        foreach (var threat in new[] { Threat.Linf(8.0 / 255), Threat.L2(0.5), Threat.L1(12) })
            Expect.equal(Threat.Parse(threat.ToString()), threat, "there and back");
        Expect.equal(Threat.Parse("linf:8/255"), Threat.Linf(8.0 / 255), "the field's way of writing");
    }

    private static void Nulls()
    {
        using var scope = torch.NewDisposeScope();
        var images = Tiny.Images(1);
        void Refused(Action action) => Throws<ArgumentNullException>(action, "null");
        Refused(() => Workbench.PretrainAsync(null!));
        Refused(() => Workbench.PretrainSteps(null!));
        Refused(() => Workbench.ResumeAsync(null!));
        Refused(() => Workbench.EvaluateAsync(null!));
        Refused(() => Encoder.Load(null!));
        Refused(() => PretrainOptions.FromRun(null!));
        Refused(() => Threat.Parse(null!));
        Refused(() => Workbench.Attack(null!, images, images, Threat.Linf(0.1)));
        Refused(() => Workbench.Attack(x => x, null!, images, Threat.Linf(0.1)));
        Refused(() => Workbench.Attack(x => x, images, null!, Threat.Linf(0.1)));
        Refused(() => Workbench.Attack(x => x, images, images, null!));
        Throws<ArgumentException>(() => Workbench.PretrainSteps(Tiny.Options), "a sequence without a folder");
    }

    private static void Disposed()
    {
        using var scope = torch.NewDisposeScope();
        var encoder = Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;
        encoder.Dispose();
        Throws<ObjectDisposedException>(() => encoder.Features(Tiny.Images(1)), "features");
        Throws<ObjectDisposedException>(() => Workbench.EvaluateAsync(encoder), "evaluation");
    }

    private static void EveryCode()
    {
        var cases = typeof(AdvContrast.Core.Foundation.Error).GetNestedTypes()
            .Where(t => t.IsSubclassOf(typeof(AdvContrast.Core.Foundation.Error)) && !t.Name.StartsWith('_'));
        var names = cases.Select(t => t.Name).ToHashSet();
        names.ExceptWith(["Interrupted", "Several"]);
        Expect.isTrue(names.SetEquals(Enum.GetNames<ErrorCode>()), string.Join(", ", names));
    }
}
