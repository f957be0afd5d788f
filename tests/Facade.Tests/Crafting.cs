using System;
using System.IO;
using System.Linq;
using System.Threading;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;
using static Raised;

/// <summary>Classifiers that C# wrote, measured, attacked in their own units, and what is kept of
/// it.</summary>
public static class Crafting
{
    [Tests]
    public static Test Tests => TestList(
        "Crafting",
        [
            TestCase("measures any classifier, AutoAttack included", Measures),
            TestCase("measures on a thread of its own, and stops when told to", Stops),
            TestCase("attacks images in other bounds, and models that want other pixels", Bounds),
            TestCase("reaches targets", Targets),
            TestCase("knows every attack by its name", EveryName),
            TestCase("keeps adversarial images, and reads them back", Keeps),
            TestCase("tries an encoder's images on other classifiers", Transfers),
            TestCase("refuses what does not fit", Refuses),
            TestCase("leaves no tensor behind", NoLeak),
        ]);

    // Bright or dark: label 1 where the mean pixel is above a half.
    private static torch.Tensor Bright(torch.Tensor images)
    {
        var mean = images.mean([1L, 2, 3]) - 0.5;
        return torch.stack([-mean, mean], 1);
    }

    // Three classes: nearest to 0, to a half, to 1.
    private static torch.Tensor Three(torch.Tensor images)
    {
        var mean = images.mean([1L, 2, 3]);
        return torch.stack([-mean, mean * 0.0 - 0.25, mean - 1.0], 1);
    }

    private static readonly float[] brightness = [0.45f, 0.2f, 0.52f, 0.95f];

    // Grey images of one brightness each; the first and the third are within 0.1 of the border.
    private static torch.Tensor Grey() =>
        torch.tensor(brightness).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous();

    private static torch.Tensor Labels() => torch.tensor([0L, 0, 1, 1]);

    private static readonly EvaluateOptions asked = new()
    {
        Attacks = ["fgsm", "pgd-5", "square-20", "autoattack"],
        Threats = [Threat.Linf(0.1), Threat.Linf(0.01)],
    };

    private static void Measures()
    {
        using var scope = torch.NewDisposeScope();
        var heard = new Heard<EvaluationProgress>();
        var result = Workbench.Evaluate(Bright, Grey(), Labels(), asked, heard);
        Expect.sequenceEqual(
            result.Accuracies.Select(a => a.Name),
            ["clean", .. asked.Attacks, .. asked.Attacks],
            "names");
        Expect.sequenceEqual(
            result.Accuracies.Select(a => a.Correct), [4, 2, 2, 2, 2, 4, 4, 4, 4], "two are near the border");
        Expect.sequenceEqual(
            result["autoattack"].Parts.Select(part => part.Name),
            ["apgd-ce", "apgd-t", "fab-t", "square"],
            "what each of its attacks left");
        Expect.equal(result.Dataset, "images", "whose");
        Expect.equal(result["fgsm"].Threat, Threat.Linf(0.1), "the first threat");
        Expect.contains(heard.Select(p => p.Stage), "pgd-5, linf:0.1", "what was heard");

        var usual = Workbench.Evaluate(Bright, Grey(), Labels());
        Expect.sequenceEqual(usual.Accuracies.Select(a => a.Name), ["clean", "fgsm", "pgd-20"], "usual");
        Expect.equal(usual["fgsm"].Threat, Threat.Linf(8.0 / 255), "the usual threat");
        var bytes = (Grey() * 255).round().to(torch.uint8);
        Expect.equal(Workbench.Evaluate(Bright, bytes, Labels())["fgsm"].Correct, 3, "bytes");
    }

    private static void Stops()
    {
        using var scope = torch.NewDisposeScope();
        var whole = Tiny.Wait(Workbench.EvaluateAsync(Bright, Grey(), Labels(), asked));
        Expect.equal(whole["pgd-5"].Correct, 2, "measured");
        using var stop = new CancellationTokenSource();
        var looks = 0;
        torch.Tensor Counting(torch.Tensor x)
        {
            if (++looks == 3) stop.Cancel();
            return Bright(x);
        }

        Throws<OperationCanceledException>(
            () => Tiny.Wait(Workbench.EvaluateAsync(
                Counting, Grey(), Labels(), asked, cancellation: stop.Token)),
            "the stop");
        Expect.equal(looks, 3, "no further look");
        looks = 0;
        using var again = new CancellationTokenSource();
        Throws<OperationCanceledException>(
            () => Workbench.Attack(
                x =>
                {
                    if (++looks == 3) again.Cancel();
                    return Bright(x);
                },
                Grey(), Labels(), Threat.Linf(0.01), new AttackOptions(), again.Token),
            "the stop of an attack");
    }

    private static bool[] Broken(AttackResult result) => result.Success.data<bool>().ToArray();

    private static void Bounds()
    {
        using var scope = torch.NewDisposeScope();
        bool[] near = [true, false, true, false];
        var options = new AttackOptions { Attack = "pgd-10" };

        // The same images from -1 to 1, twice as far apart.
        var threat = Threat.Linf(0.2).Within(-1, 1);
        Expect.equal(threat.Bounds, (-1.0, 1.0), "bounds");
        torch.Tensor Wide(torch.Tensor x) => Bright((x + 1.0) / 2.0);
        var wide = Workbench.Attack(Wide, Grey() * 2.0 - 1.0, Labels(), threat, options);
        Expect.sequenceEqual(Broken(wide), near, "from -1 to 1");
        Expect.isTrue(wide.Images.data<float>().ToArray().All(p => p is >= -1 and <= 1), "within the bounds");

        // Models of normalised pixels, and of pixels to 255.
        torch.Tensor Normal(torch.Tensor x) => Bright(x * 0.25 + 0.4);
        var said = options with { Mean = [0.4], Std = [0.25] };
        Expect.sequenceEqual(
            Broken(Workbench.Attack(Normal, Grey(), Labels(), Threat.Linf(0.1), said)), near, "by options");
        var normalised = Classifier.Normalised(Normal, [0.4], [0.25]);
        Expect.sequenceEqual(
            Broken(Workbench.Attack(normalised, Grey(), Labels(), Threat.Linf(0.1), options)),
            near,
            "by itself");
        var ranged = Classifier.Ranged(x => Bright(x / 255.0), 0, 255);
        Expect.sequenceEqual(
            Broken(Workbench.Attack(ranged, Grey(), Labels(), Threat.Linf(0.1), options)), near, "ranged");
        var shifted = options with { Mean = [0.1] };
        Expect.sequenceEqual(
            Broken(Workbench.Attack(x => Bright(x + 0.1), Grey(), Labels(), Threat.Linf(0.1), shifted)),
            near,
            "a mean alone");

        Expect.isFalse(Threat.L2(1).Unbounded().Bounds.HasValue, "no bounds");
        Expect.equal(Threat.Linf(1).Bounds, (0.0, 1.0), "the usual ones");
        Expect.equal(Threat.Parse(threat.ToString()), threat, "there and back");
    }

    private static void Targets()
    {
        using var scope = torch.NewDisposeScope();
        var labels = torch.tensor([1L, 0, 1, 2]);
        var targets = torch.tensor([0L, 2, 2, 1]);
        var options = new AttackOptions { Targets = targets };
        using var result = Workbench.Attack(Three, Grey(), labels, Threat.Linf(0.3), options);
        Expect.sequenceEqual(Broken(result), [true, false, true, true], "0.2 is too far from the brightest");
        using var kept = Workbench.Craft(Three, Grey(), labels, Threat.Linf(0.3), options);
        Expect.sequenceEqual(kept.Targets!.data<long>().ToArray(), targets.data<long>().ToArray(), "kept");
        Expect.sequenceEqual(kept.After.data<long>().ToArray(), [0, 1, 2, 1], "taken for");
    }

    private static void EveryName()
    {
        using var scope = torch.NewDisposeScope();
        string[] names =
        [
            "fgsm", "pgd-3", "pgd-3:0.5", "cw-pgd-3", "mi-fgsm-3", "apgd-ce", "apgd-dlr", "apgd-t", "fab",
            "fab-t", "square-30", "cw-l2-fixed", "autoattack",
        ];
        foreach (var name in names)
        {
            using var result = Workbench.Attack(Bright, Grey(), Labels(), Threat.L2(0.3), name);
            Expect.isTrue(Broken(result).Count(broken => broken) <= 2, $"{name} breaks what it can");
            Expect.isTrue(
                result.Distances[Norm.L2].data<float>().ToArray().All(d => d <= 0.3f + 1e-4f),
                $"{name}'s radius");
        }
    }

    private static void Keeps()
    {
        using var scope = torch.NewDisposeScope();
        using var folder = new Folder();
        var heard = new Heard<EvaluationProgress>();
        var options = new AttackOptions { Attack = "pgd-10", Seed = 5 };
        using var made = Workbench.Craft(Bright, Grey(), Labels(), Threat.Linf(0.1), options, heard);
        Expect.equal(heard[^1], new EvaluationProgress("pgd-10", 1), "the end");
        Expect.equal((made.Own.Clean.Correct, made.Own.Attacked.Correct), (4, 2), "what they did");
        made.Save(folder.At("images.safetensors"));
        made.SavePicture(folder.At("images.png"));
        Expect.isGreaterThan(new FileInfo(folder.At("images.png")).Length, 100L, "a picture");

        using var read = Adversaries.Load(folder.At("images.safetensors"));
        Expect.equal((read.Attack, read.Threat, read.Seed), ("pgd-10", Threat.Linf(0.1), 5UL), "of what");
        Expect.stringContains(read.Text, "PGD-10", "in full");
        Expect.sequenceEqual(
            read.Result.Images.data<float>().ToArray(), made.Result.Images.data<float>().ToArray(), "images");
        Expect.sequenceEqual(
            read.Original.data<float>().ToArray(), Grey().data<float>().ToArray(), "originals");
        Expect.sequenceEqual(Broken(read.Result), [true, false, true, false], "success");
        Expect.equal(Workbench.Transfer(Bright, read).Attacked.Correct, 2, "onto itself");
        Expect.equal(Workbench.Transfer(x => -Bright(x), read).Clean.Correct, 0, "onto another");

        File.WriteAllText(folder.At("foreign"), "these are not the bytes that you are looking for");
        ErrorCode Code(Action action) => Throws<AdvContrastException>(action, "a fault").Code;
        Expect.equal(Code(() => Adversaries.Load(folder.At("foreign"))), ErrorCode.Damaged, "foreign");
        Expect.equal(Code(() => Adversaries.Load(folder.At("none"))), ErrorCode.Missing, "missing");
        Expect.equal(Code(() => made.Save(folder.At("foreign/x"))), ErrorCode.NotWritable, "below a file");
    }

    private static void Transfers()
    {
        using var encoder = Tiny.Wait(Workbench.PretrainAsync(Tiny.Options)).Encoder;
        var options = new EvaluateOptions { Images = 50, Attacks = ["pgd-3"], Threats = [Threat.Linf(0.1)] };
        using var made = Tiny.Wait(Workbench.CraftAsync(encoder, options));
        var measured = Tiny.Wait(Workbench.EvaluateAsync(encoder, options));
        Expect.equal(made.Own.Clean.Correct, measured.Clean.Correct, "the same classifier");
        Expect.equal(made.Own.Attacked.Correct, measured["pgd-3"].Correct, "the same attack");
        Expect.equal(made.About["dataset"], "sample", "the data set");
        Expect.equal(Tiny.Wait(Workbench.TransferAsync(encoder, made)).Attacked.Correct,
            made.Own.Attacked.Correct, "onto the same encoder");
        var two = options with { Attacks = ["fgsm", "pgd-3"] };
        var raised = Throws<AdvContrastException>(
            () => Tiny.Wait(Workbench.CraftAsync(encoder, two)), "two attacks");
        Expect.equal(raised.Code, ErrorCode.BadOption, raised.Message);
    }

    private static void Refuses()
    {
        using var scope = torch.NewDisposeScope();
        var images = Grey();
        void Refused(Action action) => Throws<ArgumentException>(action, "a refusal");
        Refused(() => Workbench.Evaluate(Bright, images * 2.0, Labels()));
        Refused(() => Workbench.Evaluate(Bright, images, torch.tensor([0L, 1, 2, 1])));
        Refused(() => Workbench.Evaluate(x => x, images, Labels()));
        Refused(() => Workbench.Attack(Bright, images * 2.0, Labels(), Threat.Linf(0.1)));
        Refused(() => Workbench.Craft(Bright, images, Labels(), Threat.Linf(0.1),
            new AttackOptions { Targets = torch.tensor([1L]) }));
        Refused(() => Workbench.Attack(Bright, images, Labels(), Threat.Linf(0.1),
            new AttackOptions { Targets = torch.tensor([1L]) }));
        Refused(() => Workbench.Attack(Bright, images, Labels(), Threat.Linf(0.1),
            new AttackOptions { Mean = [0.1, 0.2], Std = [1.0] }));
        Refused(() => Threat.Linf(0.1).Within(1, 0));
        Refused(() => Classifier.Ranged(Bright, 1, 1));
        Refused(() => Classifier.Normalised(Bright, [], []));
        Throws<ArgumentNullException>(() => Workbench.Evaluate(null!, images, Labels()), "null");
        Throws<ArgumentNullException>(() => Workbench.Craft(Bright, images, Labels(), null!), "null");
        Throws<ArgumentNullException>(() => Workbench.Transfer(Bright, null!), "null");
        Throws<ArgumentNullException>(() => Adversaries.Load(null!), "null");
        var bad = new EvaluateOptions { Attacks = ["circle", "pgd-0"], Images = 0 };
        var raised = Throws<AdvContrastException>(
            () => Workbench.Evaluate(Bright, images, Labels(), bad), "faults");
        Expect.hasLength(raised.Faults, 3, raised.Message);
    }

    private static void NoLeak()
    {
        var before = Tiny.Live();
        using (torch.NewDisposeScope())
        {
            Workbench.Evaluate(Bright, Grey(), Labels(), asked with { Attacks = ["pgd-3", "autoattack"] });
            Workbench.Craft(Bright, Grey(), Labels(), Threat.Linf(0.1)).Dispose();
        }

        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors");
    }
}
