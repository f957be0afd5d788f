using System;
using System.Linq;
using System.Threading;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>Audits through the C# door.</summary>
public static class Auditing
{
    [Tests]
    public static Test Tests => TestList(
        "Auditing",
        [
            TestCase("checks an encoder in eighteen ways", Encoders),
            TestCase("finds no sign in a classifier that hides nothing, and what one hides", Classifiers),
            TestCase("stops when told to", Stops),
            TestCase("refuses what cannot be audited", Refuses),
            TestCase("leaves no tensor behind", NoLeak),
        ]);

    private static readonly AuditOptions few = new() { Images = 16, Threat = Threat.Linf(0.05) };

    private static Encoder Pretrained() => Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;

    // Three classes by the brightness of three pixels.
    private static torch.Tensor Bright(torch.Tensor images) =>
        images.reshape(images.shape[0], -1).narrow(1, 0, 3);

    private static torch.Tensor Noise(int n) =>
        torch.tensor([.. Enumerable.Range(0, n * 16).Select(i => i * 37 % 101 / 101f)]).reshape(n, 1, 4, 4);

    private static AuditResult Audit(Func<torch.Tensor, torch.Tensor> classifier)
    {
        using var scope = torch.NewDisposeScope();
        var images = Noise(30);
        return Workbench.Audit(classifier, images, Bright(images).argmax(1), Threat.Linf(0.1), Bright);
    }

    private static void Encoders()
    {
        using var encoder = Pretrained();
        var heard = new Heard<EvaluationProgress>();
        var options = few with { Surrogate = encoder };
        var result = Tiny.Wait(Workbench.AuditAsync(encoder, options, heard));

        Expect.sequenceEqual(result.Checks.Select(c => c.Number), Enumerable.Range(1, 18), "checks");
        Expect.equal(result[11].Reason, null, "its own adversaries were tried on it");
        Expect.equal(result.Clean.Total, 16, "images");
        Expect.isTrue(result.Worst.Correct <= result.Clean.Correct, "attacks only harm");
        Expect.equal(result.Worst.Threat, Threat.Linf(0.05), "the threat");
        Expect.equal(heard[0].Stage, "linear layer", "the first stage");
        Expect.equal(heard[^1], new EvaluationProgress("known cases", 1), "the last stage's end");
        foreach (var check in result.Checks)
            Expect.isTrue(check.Name != "" && check.Threshold != "", "words on each");

        var without = Tiny.Wait(Workbench.AuditAsync(encoder, few));
        Expect.equal(without[11].Verdict, Verdict.NotRun, "no surrogate");
        Expect.stringContains(without[11].Reason!, "surrogate", "why");
        Expect.equal(without[5].Value, result[5].Value, "the same figures again");
    }

    private static void Classifiers()
    {
        var sound = Audit(Bright);
        var failed = sound.Checks.Where(c => c.Verdict == Verdict.Failed).Select(c => $"{c.Name}: {c.Value}");
        Expect.isEmpty(failed, "checks that fail");
        Expect.equal(sound.Finding, Finding.NoSign, "sound");
        Expect.equal(sound.Clean.Fraction, 1.0, "always right");

        var detached = Audit(images => Bright(images).detach());
        Expect.equal(detached.Finding, Finding.Invalid, "detached");
        Expect.equal(detached[4].Verdict, Verdict.Failed, "its gradients");
        Expect.equal(detached[4].Images.Count, 30, "of all images");
        Expect.isTrue(detached[4].Measures.Any(m => m is { What: "margin", Value: 1 }), "all vanish");
    }

    private static void Stops()
    {
        using var encoder = Pretrained();
        using var stop = new CancellationTokenSource();
        var heard = new Heard<EvaluationProgress>(p =>
        {
            if (p.Stage == "gradient attacks") stop.Cancel();
        });
        var task = Workbench.AuditAsync(encoder, few, heard, stop.Token);
        Throws<OperationCanceledException>(() => Tiny.Wait(task), "the stop");
        Expect.isFalse(heard.Any(p => p.Stage == "surroundings"), "what comes later");
    }

    private static void Refuses()
    {
        using var scope = torch.NewDisposeScope();
        using var encoder = Pretrained();
        var bad = few with { Images = 0, Threads = 0 };
        var raised = Throws<AdvContrastException>(() => Tiny.Wait(Workbench.AuditAsync(encoder, bad)), "bad");
        Expect.hasLength(raised.Faults, 2, raised.Message);
        var still = few with { Threat = Threat.Linf(0) };
        raised = Throws<AdvContrastException>(() => Tiny.Wait(Workbench.AuditAsync(encoder, still)), "still");
        Expect.stringContains(raised.Message, "above 0", "no radius");

        var (images, labels) = (Noise(2), torch.tensor([0L, 1]));
        var threat = Threat.Linf(0.1);
        void Null(Action action) => Throws<ArgumentNullException>(action, "null");
        Null(() => Workbench.AuditAsync(null!));
        Null(() => Workbench.Audit(null!, images, labels, threat));
        Null(() => Workbench.Audit(Bright, null!, labels, threat));
        Null(() => Workbench.Audit(Bright, images, null!, threat));
        Null(() => Workbench.Audit(Bright, images, labels, null!));
        Throws<ArgumentException>(() => Workbench.Audit(Bright, images, labels, Threat.L2(0)), "no radius");
        Throws<ArgumentException>(() => Workbench.Audit(Bright, images[0], labels, threat), "no batch");
    }

    private static void NoLeak()
    {
        using var encoder = Pretrained();
        var before = Tiny.Live();
        Tiny.Wait(Workbench.AuditAsync(encoder, few with { Surrogate = encoder }));
        Audit(Bright);
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors");
    }
}
