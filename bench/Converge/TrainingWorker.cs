using System.Linq;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using TorchSharp;

namespace AdvContrast.Bench.Converge;

/// <summary>
/// The process of a short training: ACL-DS on ResNet-18 of width 16 and the embedded images.
/// </summary>
internal static class TrainingWorker
{
    /// <summary>The program's command that runs it.</summary>
    internal const string Command = "converge-worker";

    private const int Width = 16;
    private const int Batch = 32;
    private const int Channels = 3;
    private const double Rate = 1e-3;

    /// <summary>
    /// Takes a precision, a seed, steps and threads. A check answers with the loss of every step.
    /// </summary>
    internal static void Run(string[] args)
    {
        var precision = args[0] == "bfloat16" ? Core.Training.Precision.BFloat16 : Core.Training.Precision.Float32;
        var (seed, steps) = (ulong.Parse(args[1]), int.Parse(args[2]));
        torch.set_num_threads(int.Parse(args[3]));
        var training = Training(precision, seed);
        Requests.Answer(() => Losses(training, 1), () => ([], Losses(training, steps)));
    }

    private static float[] Losses(Core.Training.Trainer training, int steps) =>
    [
        .. Core.Training.TrainerModule
            .events(training, FuncConvert.FromFunc(() => Core.Training.TrainerModule.start(training)))
            .Select(e => e.IsOk ? (float)e.ResultValue.Loss : float.NaN)
            .Take(steps),
    ];

    private static Core.Training.Trainer Training(Core.Training.Precision precision, ulong seed)
    {
        var dataset = Images();
        var method = Core.Methods.Acl.dualStream;
        var input = new Core.Data.ImageInfo(Channels, dataset.Mean, dataset.Std, dataset.Classes);
        var body = Core.Networks.ResNet.resNet18(Core.Networks.Stem.CifarStem, Width, input, method.Branches);
        var optimizer = Core.Optim.TransformModule.chain(ListModule.OfSeq(
        [
            Core.Optim.TransformModule.adam(0.9, 0.999, 1e-8),
            Core.Optim.TransformModule.scale(Core.Optim.ScheduleModule.constant(Rate)),
        ]));
        return new(
            new(method.Head.Run.Invoke(body), torch.CPU, precision, seed, new([])),
            method.With(method.Step, optimizer, Batch), dataset, new([]), new([]), Batch, Methods.Endless);
    }

    // The embedded images, each as three equal channels: convolutions of one channel stay in float32.
    private static Core.Data.Dataset Images()
    {
        using var grey = Core.Data.FashionMnist.sample(true).Value();
        return Core.Data.DatasetModule.create(
            "bench", grey.Images.repeat(1, Channels, 1, 1), null, grey.Classes, Three(grey.Mean),
            Three(grey.Std));
    }

    private static FSharpList<double> Three(FSharpList<double> values) =>
        ListModule.OfSeq(Enumerable.Repeat(values.Head, Channels));
}
