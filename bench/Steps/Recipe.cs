using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;
using StepAndMemory = System.Tuple<
    TorchSharp.torch.Tensor, Microsoft.FSharp.Collections.FSharpMap<string, AdvContrast.Core.Foundation.Leaf>>;

namespace AdvContrast.Bench.Steps;

/// <summary>
/// A method's step as all sides run it: ResNet-18 on two given views of a batch, so that nobody augments.
/// </summary>
/// <remarks>bench/peers has a program for each by the same name, in PyTorch.</remarks>
internal sealed record Recipe(string Name, Core.Methods.Method Method, Core.Optim.Transform Optimizer)
{
    /// <summary>The numbers of an image.</summary>
    internal const int Numbers = Channels * Size * Size;

    private const int Size = 32;
    private const int Channels = 3;
    private const int Width = 64;
    private const ulong Seed = 1;
    private static readonly double[] Mean = [0.485, 0.456, 0.406];
    private static readonly double[] Std = [0.229, 0.224, 0.225];
    private static readonly string[] Sources = ["first", "second"];

    internal static IReadOnlyList<Recipe> All { get; } =
    [
        new("acl-ds", Core.Methods.Acl.dualStream, Core.Optim.TransformModule.larsMomentum(Constant(0.1), 0.9, 1e-3, 1e-6))
        {
            ByHand = (shared, isPublished) => new ByHand.AclDs(shared, isPublished),
            // An iteration of the attack passes two views, the loss four.
            Cost = side => side.Kind == Side.Published ? new(14, 0, 14) : new(14, 10, 4),
        },
        new("clae", Core.Methods.Clae.method, Core.Optim.TransformModule.chain(ListModule.OfSeq(
        [
            Core.Optim.TransformModule.adam(0.9, 0.999, 1e-8), Core.Optim.TransformModule.scale(Constant(3e-4)),
        ])))
        {
            ByHand = (shared, isPublished) => new ByHand.Clae(shared, isPublished),
            // The attack passes two views, the loss three; what AdvContrast knows to be the same view passes
            // once.
            Cost = side => side.Kind switch
            {
                Side.Published => new(5, 0, 5),
                Side.Auto or Side.Float32 => new(4, 1, 3),
                _ => new(5, 1, 3),
            },
        },
    ];

    /// <summary>The same step written out in TorchSharp; published: as the authors run it.</summary>
    internal required Func<SharedTensors, bool, IStep> ByHand { get; init; }

    /// <summary>The passes that a side makes.</summary>
    internal required Func<Side, Cost> Cost { get; init; }

    /// <summary>Images of a step.</summary>
    internal int Batch { get; init; } = 32;

    /// <summary>The device that it runs on.</summary>
    internal Device Device { get; init; } = CPU;

    /// <summary>The program in PyTorch.</summary>
    internal string Peer => $"bench/peers/{Name.Replace('-', '_')}.py";

    /// <summary>The recipe of a name.</summary>
    internal static Recipe Find(string name) => All.Single(recipe => recipe.Name == name);

    /// <summary>The ascent of the method's attack.</summary>
    internal Core.Attacks.GradientAttack Ascent => Adversary.Ascent;

    /// <summary>An ascent that ends at its first point.</summary>
    internal Core.Attacks.GradientAttack AtStart => Changed(0, Ascent.Next);

    /// <summary>The method's ascent, with the gradient at its first point.</summary>
    internal Core.Attacks.GradientAttack Observed(Action<Tensor> observe) => Changed(Ascent.Steps,
        FuncConvert.FromFunc<Core.ThreatModel.Threat, Core.Attacks.Iterate, StepAndMemory>(
            (threat, iterate) =>
            {
                if (iterate.Index == 0) observe(iterate.Gradient);
                return Ascent.Next.Invoke(threat).Invoke(iterate);
            }));

    /// <summary>
    /// Images of a first step, which a training draws in an order of its own, in that of the data.
    /// </summary>
    internal Tensor InOrder(Tensor images)
    {
        using var scope = NewDisposeScope();
        var training = Training(Core.Training.Precision.Plain, Ascent);
        var ids = Core.Training.TrainerModule.nextBatch(training, Core.Foundation.ProgressModule.start(1, Methods.Endless)).Ids;
        var views = images.cpu().view([-1, Batch, .. images.shape[1..]]);
        return views.index_select(1, tensor(ids).argsort()).MoveToOuterDisposeScope();
    }

    /// <summary>A training by this recipe without end. Its images belong to no scope.</summary>
    internal Core.Training.Trainer Training(Core.Training.Precision precision, Core.Attacks.GradientAttack ascent) => new(
        Machine(precision), With(Step(ascent, Method.Step.Passes, Method.Step.Loss)), Images(0),
        Empty<Tensor>(), new(Sources.Select((source, i) => Tuple.Create(source, Images(i).Images))), Batch,
        Methods.Endless);

    /// <summary>
    /// The same, but its loss is the objective of the attack at the adversarial images, in float32.
    /// </summary>
    internal Core.Training.Trainer Scoring(Core.Training.Precision precision, Core.Attacks.GradientAttack ascent)
    {
        var passes = Adversary.Passes.Select(pass => new Core.Methods.Pass(
            pass.Name, pass.Views, pass.Who,
            new Core.Networks.Call(pass.Call.Branch, pass.Call.Mode, mixed: false, pass.Call.Momentum), learn: true,
            keep: false));
        var training = Training(precision, ascent);
        return new(
            training.Machine, With(Step(ascent, ListModule.OfSeq(passes), Adversary.Objective)),
            training.Dataset, training.Labels, training.Images, training.Batch, training.Epochs);
    }

    /// <summary>
    /// Fresh weights with the running statistics of the images themselves, the same for every precision. With
    /// those of a fresh network all embeddings are nearly equal, and rounding decides the direction of the
    /// attack.
    /// </summary>
    internal Core.Training.State Start()
    {
        var drawn = Drawn();
        var state = Core.Training.StateModule.onDevice(Device, drawn);
        Core.Training.StateModule.dispose(drawn);
        return state;
    }

    // On the CPU, so that all sides get the same.
    private Core.Training.State Drawn()
    {
        var training = (this with { Device = CPU }).Training(Core.Training.Precision.Plain, Ascent);
        var state = Core.Training.TrainerModule.start(training);
        using var scope = NewDisposeScope();
        using var grad = no_grad();
        var network = training.Machine.Network;
        var images = cat([.. Sources.Select(source => training.Images[source].to(float32) / 255.0)]);
        var buffers = state.Online.Item2;
        foreach (var branch in Method.Branches)
        {
            var call = new Core.Networks.Call(branch, Core.Networks.Mode.Train, mixed: false, momentum: 1.0);
            var apply = network.Apply.Invoke(call).Invoke(state.Online.Item1).Invoke(buffers);
            buffers = apply.Invoke(images).Item2;
        }
        foreach (var (name, before) in state.Online.Item2)
        {
            if (ReferenceEquals(buffers[name], before)) continue;
            buffers[name].DetachFromDisposeScope();
            before.Dispose();
        }
        return new(
            Tuple.Create(state.Online.Item1, buffers), state.Averages, state.Optimizer, state.Memory,
            state.Progress);
    }

    /// <summary>Writes what the other sides share with ours.</summary>
    internal void Write(string path)
    {
        using var scope = NewDisposeScope();
        var training = (this with { Device = CPU }).Training(Core.Training.Precision.Plain, Ascent);
        var (parameters, buffers) = Drawn().Online;
        var images = Sources.Select(source => training.Images[source]).ToList();
        var adversary = Adversary;
        var draw = Core.Foundation.RngModule.copies(adversary.Makes.Length, Core.Foundation.RngModule.create(
            Seed, "adversary/" + string.Join("+", adversary.Makes.Select(made => made.Item1)),
            [.. Enumerable.Range(0, Batch).Select(i => (long)i)]));
        var origin = cat([.. images.Take(adversary.Makes.Length)]).to(float32) / 255.0;
        new SharedTensors(
            parameters.Concat(buffers).ToDictionary(tensor => tensor.Key, tensor => tensor.Value), images[0],
            images[1], Core.Attacks.GradientAttackLoop.start(adversary.Threat, adversary.Ascent, draw, origin),
            tensor(Mean).to(float32), tensor(Std).to(float32)).Write(path);
    }

    private Core.Methods.Method With(Core.Methods.Step step) => Method.With(step, Optimizer, Batch);

    private Core.Methods.Adversary Adversary => Method.Step.Adversaries.Head;

    private Core.Attacks.GradientAttack Changed(
        int steps,
        FSharpFunc<Core.ThreatModel.Threat, FSharpFunc<Core.Attacks.Iterate, StepAndMemory>> next) =>
        new(
            Ascent.Text, Ascent.Start, steps, Ascent.Restarts, Ascent.Passes, Ascent.Keep, Ascent.EarlyStop,
            Ascent.After, next);

    // The method's step on the given views.
    private Core.Methods.Step Step(
        Core.Attacks.GradientAttack ascent, FSharpList<Core.Methods.Pass> passes, FSharpFunc<Core.Methods.LossContext, Tensor> loss)
    {
        var identity = FuncConvert.FromFunc<
            Core.Foundation.Progress, Core.Foundation.Named<FSharpFunc<Core.Foundation.Rng, FSharpFunc<Tensor, Tensor>>>>(
            _ => Core.Augment.ViewModule.identity);
        var views = Sources.Select((source, i) => new Core.Methods.ViewSpec($"v{i + 1}", source, identity));
        var adversary = new Core.Methods.Adversary(
            Adversary.Makes, Adversary.Threat, ascent, Adversary.Passes, Adversary.Objective,
            Adversary.Leaks);
        return new(
            ListModule.OfSeq(views), Method.Step.Free, ListModule.OfSeq([adversary]), passes,
            Method.Step.Formula, loss, FuncConvert.FromFunc<Core.Methods.LossContext, FSharpList<Tuple<string, double>>>(
                _ => FSharpList<Tuple<string, double>>.Empty),
            Method.Step.WeightStep);
    }

    private static FSharpMap<string, T> Empty<T>() => new([]);

    private static Core.Foundation.Named<FSharpFunc<Core.Foundation.Progress, double>> Constant(double value) =>
        Core.Optim.ScheduleModule.constant(value);

    private Core.Training.Machine Machine(Core.Training.Precision precision)
    {
        var input = new Core.Data.ImageInfo(Channels, ListModule.OfSeq(Mean), ListModule.OfSeq(Std), classes: 10);
        var body = Core.Networks.ResNet.resNet18(Core.Networks.Stem.CifarStem, Width, input, Method.Branches);
        return new(Method.Head.Run.Invoke(body), Device, precision, Seed, Empty<Core.Networks.Model>());
    }

    // Squares of random colours, which the views of an image share, and noise of each view's own.
    private Core.Data.Dataset Images(int view)
    {
        const int square = 8;
        var (colours, noise) = (new Random(0), new Random(view + 1));
        var values = new byte[Batch * Numbers];
        var columns = new int[Size / square];
        for (var i = 0; i < values.Length; i++)
        {
            var (row, column) = (i / Size, i % Size);
            if (row % square == 0 && column == 0) columns = Array.ConvertAll(columns, _ => colours.Next(192));
            values[i] = (byte)(columns[column / square] + noise.Next(64));
        }
        return Core.Data.DatasetModule.ofBytes(
            "bench", values, [Batch, Channels, Size, Size], new byte[Batch], 10, ListModule.OfSeq(Mean),
            ListModule.OfSeq(Std));
    }
}
