using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.FSharp.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace AdvContrast.Bench.AutoAttack;

/// <summary>
/// The process of AdvContrast's side: AutoAttack's standard version on the first test images of CIFAR-10.
/// </summary>
internal static class AttackWorker
{
    /// <summary>The program's command that runs it.</summary>
    internal const string Command = "autoattack-worker";

    /// <summary>The request, with a file's name, for what both sides classify.</summary>
    internal const string Write = "write";

    /// <summary>The request for the passes of the last attack.</summary>
    internal const string Made = "passes";

    /// <summary>
    /// The request for the images that are right before and after each attack of the last run.
    /// </summary>
    internal const string Right = "right";

    /// <summary>The number of images whose logits are compared.</summary>
    internal const int Compared = 4;

    private const ulong Seed = 1;

    /// <summary>
    /// Takes the encoder's file, the folder of CIFAR-10, the threat, the images, and the threads.
    /// </summary>
    internal static void Run(string[] args)
    {
        torch.set_num_threads(int.Parse(args[4]));
        var threat = Core.ThreatModel.ThreatModule.parse(args[2]).Value();
        var loaded = Core.Runs.EncoderModule.load(args[0]).Value().Item1;
        var encoder = Core.Runs.EncoderModule.folded(loaded);
        var test = Core.Data.DatasetModule.sample(1UL, int.Parse(args[3]), Core.Data.Cifar10.read(args[1], false).Value());
        var head = Core.Evaluation.LinearProbeModule.fit(
            Core.Evaluation.LinearProbeModule.quick, Ignoring<Core.Foundation.Progress>(), encoder,
            Core.Data.Cifar10.read(args[1], true).Value());
        var made = new Dictionary<(long Rows, bool WithGradient), int>();
        var counting = FuncConvert.FromFunc<Tensor, Tensor>(images =>
        {
            var key = (images.shape[0], images.requires_grad && is_grad_enabled());
            made[key] = made.GetValueOrDefault(key) + 1;
            return Logits(images);
        });
        var right = "";
        Requests.Answer(Attack, () => ([], FirstLogits()), (request, argument) => request switch
        {
            Write => Written(argument),
            Made => Passes.Text(made.Select(p => new Passes(p.Key.Rows, p.Key.WithGradient, p.Value))),
            _ => right,
        });

        void Attack()
        {
            made.Clear();
            var start = Core.Evaluation.AutoAttackModule.start(
                "bench", Core.Evaluation.RobustAccuracy.cleanly(encoder.Device, counting, test).Item1);
            var ended = Core.Evaluation.AutoAttackModule.run(
                Core.Evaluation.AutoAttackModule.standard, Seed, threat,
                FuncConvert.FromAction<string, double>((_, _) => { }),
                FuncConvert.FromFunc<Core.Evaluation.EnsembleProgress, FSharpResult<Unit, Core.Foundation.Error>>(
                    _ => FSharpResult<Unit, Core.Foundation.Error>.NewOk(null!)),
                encoder.Device, counting, test, start).Value();
            right = string.Join(", ", ended.Counts);
        }

        Tensor Images(long count) =>
            test.Batch(encoder.Device, [.. Enumerable.Range(0, (int)count).Select(i => (long)i)]);

        Tensor Logits(Tensor images) => Core.Evaluation.LinearProbeModule.classifier(encoder, head, images);

        float[] FirstLogits()
        {
            using var scope = NewDisposeScope();
            return Logits(Images(Compared)).data<float>().ToArray();
        }

        string Written(string path)
        {
            using var scope = NewDisposeScope();
            var own = loaded.Weights.Item1.Concat(loaded.Weights.Item2);
            TensorFile.Write(path, own.Concat(new Dictionary<string, Tensor>
            {
                ["head.weight"] = head.Weight,
                ["head.bias"] = head.Bias,
                ["mean"] = tensor(loaded.Input.Mean.ToArray()).to(float32),
                ["std"] = tensor(loaded.Input.Std.ToArray()).to(float32),
                ["images"] = Images(test.Count),
            }));
            return path;
        }
    }

    private static FSharpFunc<T, Unit> Ignoring<T>() => FuncConvert.FromAction<T>(_ => { });
}
