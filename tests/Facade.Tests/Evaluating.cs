using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>Evaluation through the C# door.</summary>
public static class Evaluating
{
    private static readonly EvaluateOptions few = new() { Images = 100, Attacks = ["fgsm", "pgd-3"] };

    [Tests]
    public static Test Tests => TestList(
        "Evaluating",
        [
            TestCase("measures clean accuracy and accuracy under each attack", Measures),
            TestCase("an encoder saved alone is measured the same", Saves),
            TestCase("stops after the batch under attack when told to", Stops),
            TestCase("leaves no tensor behind", NoLeak),
        ]);

    private static IEnumerable<int> Correct(EvaluationResult result) =>
        result.Accuracies.Select(a => a.Correct);

    private static Encoder Pretrained() => Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;

    private static void Measures()
    {
        using var encoder = Pretrained();
        var heard = new Heard<EvaluationProgress>();
        var result = Tiny.Wait(Workbench.EvaluateAsync(encoder, few, heard));

        Expect.sequenceEqual(result.Accuracies.Select(a => a.Name), ["clean", "fgsm", "pgd-3"], "names");
        foreach (var accuracy in result.Accuracies)
        {
            Expect.equal(accuracy.Total, 100, "images");
            Expect.isTrue(accuracy.Fraction is >= 0 and <= 1, "a share");
            Expect.isGreaterThanOrEqual(result.Clean.Fraction, accuracy.Fraction, "attacks only harm");
        }
        Expect.isGreaterThan(result.Clean.Fraction, 0.2, "above chance");
        Expect.equal(result["fgsm"], result.Accuracies[1], "by name");
        Expect.equal(result.Dataset, "sample", "the run's data set");
        Expect.equal(result["fgsm"].Threat, Threat.Linf(8.0 / 255), "the usual threat");
        Expect.equal(heard[0].Stage, "linear layer", "the first stage");
        Expect.equal(heard[^1], new EvaluationProgress("pgd-3", 1), "the last stage's end");

        var again = Tiny.Wait(Workbench.EvaluateAsync(encoder, few));
        Expect.sequenceEqual(Correct(again), Correct(result), "the same figures again");

        var voted = Tiny.Wait(Workbench.EvaluateAsync(encoder, few with { Knn = new Knn(5), Attacks = [] }));
        Expect.sequenceEqual(voted.Accuracies.Select(a => a.Name), ["clean", "knn-5:0.1"], "with a vote");
        Expect.isGreaterThan(voted["knn-5:0.1"].Fraction, 0.2, "the vote is above chance");

        var harmless = Tiny.Wait(Workbench.EvaluateAsync(encoder, few with { Threats = [Threat.L2(0)] }));
        Expect.equal(harmless["pgd-3"].Correct, harmless.Clean.Correct, "a radius of nothing harms nothing");
    }

    private static void Saves()
    {
        using var folder = new Folder();
        var path = folder.At("encoder.safetensors");
        using var encoder = Pretrained();
        encoder.Save(path);
        using var again = Encoder.Load(path);
        Expect.sequenceEqual(
            Correct(Tiny.Wait(Workbench.EvaluateAsync(again, few))),
            Correct(Tiny.Wait(Workbench.EvaluateAsync(encoder, few))), "the same figures");
    }

    private static void Stops()
    {
        using var encoder = Pretrained();
        using var stop = new CancellationTokenSource();
        var heard = new Heard<EvaluationProgress>(p =>
        {
            if (p.Stage == "fgsm") stop.Cancel();
        });
        var task = Workbench.EvaluateAsync(encoder, few, heard, stop.Token);
        Throws<OperationCanceledException>(() => Tiny.Wait(task), "the stop");
        Expect.isFalse(heard.Any(p => p.Stage == "pgd-3"), "another attack");
    }

    private static void NoLeak()
    {
        using var encoder = Pretrained();
        var before = Tiny.Live();
        Tiny.Wait(Workbench.EvaluateAsync(encoder, few));
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors");
    }
}
