using System.Collections.Generic;
using AdvContrast.Bench.ByHand;
using TorchSharp;
using static TorchSharp.torch;

namespace AdvContrast.Bench.AutoAttack;

/// <summary>
/// The process of the other side: the passes that AutoAttack made, through ResNet-18 in plain TorchSharp.
/// </summary>
internal static class PassesWorker
{
    /// <summary>The program's command that runs it.</summary>
    internal const string Command = "passes-worker";

    /// <summary>Takes the file of what both sides classify, the passes, and the threads.</summary>
    internal static void Run(string[] args)
    {
        var shared = TensorFile.Read(args[0], CPU);
        var passes = Passes.Parse(args[1]);
        torch.set_num_threads(int.Parse(args[2]));
        var images = shared["images"];
        var head = nn.Linear(shared["head.weight"].shape[1], shared["head.weight"].shape[0]);
        var network = new ResNet18(
            shared["conv1.weight"].shape[0], shared["mean"], shared["std"],
            new Dictionary<string, double> { ["clean"] = 0.1 }, head);
        network.Load(shared);
        network.eval();
        foreach (var p in network.parameters()) p.requires_grad = false;
        Requests.Answer(() => passes.ForEach(Call), Check);

        void Call(Passes all)
        {
            for (var i = 0; i < all.Calls; i++)
            {
                using var scope = NewDisposeScope();
                var x = images.index_select(0, arange(all.Rows, ScalarType.Int64).remainder(images.shape[0]));
                if (all.WithGradient)
                {
                    x.requires_grad_();
                    autograd.grad([network.call(x).sum()], [x]);
                }
                else
                {
                    using var none = no_grad();
                    network.call(x);
                }
            }
        }

        (double[] Numbers, float[] Values) Check()
        {
            using var scope = NewDisposeScope();
            return ([], network.call(images.narrow(0, 0, AttackWorker.Compared)).data<float>().ToArray());
        }
    }
}
