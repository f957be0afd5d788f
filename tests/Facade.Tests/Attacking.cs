using System.Linq;
using AdvContrast;
using Expecto;
using TorchSharp;
using static Expecto.CSharp.Runner;

/// <summary>Attacks on a classifier that C# wrote, whose margins are known.</summary>
public static class Attacking
{
    [Tests]
    public static Test Tests => TestList(
        "Attacking",
        [
            TestCase("finds the adversarial images that there are and no others", Finds),
            TestCase("tells how far the images have moved, within the threat and the pixel box", Distances),
            TestCase("depends on the seed alone", Seeds),
            TestCase("leaves no tensor behind", NoLeak),
        ]);

    // Bright or dark: label 1 where the mean pixel is above a half.
    private static torch.Tensor Bright(torch.Tensor images)
    {
        var mean = images.mean([1L, 2, 3]) - 0.5;
        return torch.stack([-mean, mean], 1);
    }

    // Grey images of one brightness each.
    private static torch.Tensor Grey(params float[] brightness) =>
        torch.tensor(brightness).reshape(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous();

    private static readonly float[] brightness = [0.45f, 0.2f, 0.52f, 0.95f];

    private static AttackResult Attack(Threat threat, string attack = "pgd-10", ulong seed = 1)
    {
        using var scope = torch.NewDisposeScope();
        var labels = torch.tensor([0L, 0, 1, 1]);
        var result = Workbench.Attack(Bright, Grey(brightness), labels, threat, attack, seed);
        foreach (var tensor in Tensors(result)) scope.Detach(tensor);
        return result;
    }

    private static torch.Tensor[] Tensors(AttackResult result) =>
    [
        result.Images, result.Success, result.FirstSuccess, result.Forwards, result.Gradients,
        result.ZeroGradients, .. result.Distances.Values,
    ];

    private static void Finds()
    {
        foreach (var attack in new[] { "fgsm", "pgd-10" })
        {
            using var result = Attack(Threat.Linf(0.1), attack);
            var success = result.Success.data<bool>().ToArray();
            Expect.sequenceEqual(success, [true, false, true, false], attack);
            var first = result.FirstSuccess.data<long>().ToArray();
            Expect.sequenceEqual(first.Select(at => at >= 0), success, "found where it succeeded");
            Expect.isEmpty(result.Flags, "nothing to tell");
        }
    }

    private static void Distances()
    {
        foreach (var threat in new[] { Threat.Linf(0.1), Threat.L2(0.4), Threat.L1(1.6) })
        {
            using var result = Attack(threat);
            var distances = result.Distances[threat.Norm].data<float>().ToArray();
            Expect.isTrue(distances.All(d => d <= threat.Radius + 1e-5), $"distances within {threat}");
            var pixels = result.Images.data<float>().ToArray();
            Expect.isTrue(pixels.All(pixel => pixel is >= 0 and <= 1), "pixels within the box");
        }
    }

    private static void Seeds()
    {
        float[] Pixels(ulong seed)
        {
            using var result = Attack(Threat.Linf(0.1), "pgd-1", seed);
            return result.Images.data<float>().ToArray();
        }

        Expect.sequenceEqual(Pixels(1), Pixels(1), "the same seed");
        Expect.isFalse(Pixels(1).SequenceEqual(Pixels(2)), "another seed");
    }

    private static void NoLeak()
    {
        var before = Tiny.Live();
        Attack(Threat.L2(0.4)).Dispose();
        Expect.equal(AdvContrast.Core.Foundation.Autograd.liveTensors(), before, "live tensors");
    }
}
