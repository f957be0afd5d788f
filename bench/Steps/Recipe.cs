using System;
using System.Collections.Generic;
using System.Linq;
using Microsoft.FSharp.Collections;
using Microsoft.FSharp.Core;
using static TorchSharp.torch;

namespace AdvContrast.Bench.Steps;

/// <summary>A method's step as both sides run it: two given views of so many images, ResNet-18.</summary>
/// <remarks>bench/peers has a program for each by the same name, in plain PyTorch.</remarks>
internal sealed record Recipe(string Name, Core.Method Method, Core.Transform Optimizer)
{
    private const int Side = 32;
    private const int Channels = 3;
    private const ulong Seed = 1;
    private const int Endless = 1_000_000;
    private static readonly double[] Mean = [0.485, 0.456, 0.406];
    private static readonly double[] Std = [0.229, 0.224, 0.225];
    private static readonly string[] Sources = ["first", "second"];

    internal static IReadOnlyList<Recipe> All { get; } =
    [
        new("acl-ds", Core.Acl.dualStream, Core.TransformModule.larsMomentum(Constant(0.1), 0.9, 1e-3, 1e-6)),
        new("clae", Core.Clae.method, Core.TransformModule.chain(ListModule.OfSeq(
        [
            Core.TransformModule.adam(0.9, 0.999, 1e-8), Core.TransformModule.scale(Constant(3e-4)),
        ]))),
    ];

    /// <summary>How many images a step takes.</summary>
    internal int Batch { get; init; } = 32;

    /// <summary>Where it runs.</summary>
    internal Device Device { get; init; } = CPU;

    internal string Peer => $"bench/peers/{Name.Replace('-', '_')}.py";

    /// <summary>The training by this recipe, without end. Its images belong to no scope.</summary>
    internal Core.Training Training(Core.Precision precision) => new(
        Machine(precision), With(Method.Step), Images(0), Empty<Tensor>(),
        new(Sources.Select((source, i) => Tuple.Create(source, Images(i).Images))), Batch, Endless);

    /// <summary>
    /// The same, but its loss is what the adversary reaches on its own objective, scored in float32.
    /// </summary>
    internal Core.Training Scoring(Core.Precision precision)
    {
        var step = Method.Step;
        var adversary = step.Adversaries.Head;
        var passes = adversary.Passes.Select(pass => new Core.Pass(
            pass.Name, pass.Views, pass.Who,
            new Core.Call(pass.Call.Branch, pass.Call.Mode, mixed: false, pass.Call.Momentum), learn: true,
            keep: false));
        var training = Training(precision);
        return new(
            training.Machine,
            With(new(
                step.Views, step.Free, step.Adversaries, ListModule.OfSeq(passes), step.Formula,
                adversary.Objective, FuncConvert.FromFunc<Core.Scene, FSharpList<Tuple<string, double>>>(
                    _ => FSharpList<Tuple<string, double>>.Empty), step.WeightStep)),
            training.Dataset, training.Labels, training.Images, training.Batch, training.Epochs);
    }

    /// <summary>
    /// Fresh weights with the statistics of the images themselves. At a fresh network's own, all embeddings
    /// are nearly one, and which way an attack goes is a matter of rounding; so they are the same, to the last
    /// bit, whatever the precision of the run.
    /// </summary>
    internal Core.State Start()
    {
        var drawn = Drawn();
        var state = Core.StateModule.onDevice(Device, drawn);
        Core.StateModule.dispose(drawn);
        return state;
    }

    // On the CPU, so that the peers get the same.
    private Core.State Drawn()
    {
        var training = (this with { Device = CPU }).Training(Core.Precision.Plain);
        var state = Core.TrainingModule.start(training);
        using var scope = NewDisposeScope();
        using var grad = no_grad();
        var network = training.Machine.Network;
        var images = cat([.. Sources.Select(source => training.Images[source].to(float32) / 255.0)]);
        var buffers = state.Online.Item2;
        foreach (var branch in Method.Branches)
        {
            var call = new Core.Call(branch, Core.Mode.Train, mixed: false, momentum: 1.0);
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

    /// <summary>Weights, images and the attack's first point, for the peers.</summary>
    internal void Write(string path)
    {
        using var scope = NewDisposeScope();
        var training = Training(Core.Precision.Plain);
        var state = Drawn();
        var images = Sources.Select(source => training.Images[source]).ToList();
        var adversary = Method.Step.Adversaries.Head;
        var draw = Core.DrawModule.copies(adversary.Makes.Length, Core.DrawModule.create(
            Seed, "adversary/" + string.Join("+", adversary.Makes.Select(made => made.Item1)),
            [.. Enumerable.Range(0, Batch).Select(i => (long)i)]));
        var origin = cat([.. images.Take(adversary.Makes.Length)]).to(float32) / 255.0;
        var tensors = new Dictionary<string, Tensor>
        {
            ["first"] = images[0],
            ["second"] = images[1],
            ["start"] = Core.GradientAttack.start(adversary.Threat, adversary.Ascent, draw, origin),
            ["mean"] = tensor(Mean).to(float32),
            ["std"] = tensor(Std).to(float32),
        };
        foreach (var (name, x) in state.Online.Item1) tensors["p:" + name] = x;
        foreach (var (name, x) in state.Online.Item2) tensors["b:" + name] = x;
        var leaves = tensors.Select(t => Tuple.Create(t.Key, Core.Leaf.NewValue(t.Value)));
        var tree = new FSharpMap<string, Core.Leaf>(leaves);
        var written = Core.Safetensors.write(path, Empty<string>(), tree);
        if (written.IsError)
            throw new InvalidOperationException(Core.ErrorModule.message(written.ErrorValue));
    }

    private static FSharpMap<string, T> Empty<T>() => new([]);

    private static Core.Named<FSharpFunc<Core.Progress, double>> Constant(double value) =>
        Core.ScheduleModule.constant(value);

    private Core.Machine Machine(Core.Precision precision)
    {
        var input = new Core.Input(Channels, ListModule.OfSeq(Mean), ListModule.OfSeq(Std), classes: 10);
        var body = Core.ResNet.resNet18(Core.Stem.CifarStem, 64, input, Method.Branches);
        return new(Method.Head.Run.Invoke(body), Device, precision, Seed, Empty<Core.Model>());
    }

    // Views of the same images, as another augmentation would make them: plain noise over a common part.
    private Core.Dataset Images(int view)
    {
        var common = new Random(0);
        var own = new Random(view + 1);
        var values = new byte[Batch * Channels * Side * Side];
        for (var i = 0; i < values.Length; i++) values[i] = (byte)(common.Next(192) + own.Next(64));
        return Core.DatasetModule.ofBytes(
            "bench", values, [Batch, Channels, Side, Side], new byte[Batch], 10, ListModule.OfSeq(Mean),
            ListModule.OfSeq(Std));
    }

    private Core.Method With(Core.Step step)
    {
        var identity = FuncConvert.FromFunc<
            Core.Progress, Core.Named<FSharpFunc<Core.Draw, FSharpFunc<Tensor, Tensor>>>>(
            _ => Core.ViewModule.identity);
        var views = Sources.Select((source, i) => new Core.ViewSpec($"v{i + 1}", source, identity));
        var m = Method;
        var recipe = new Core.Recipe(
            Optimizer, Batch, Endless, 1, m.Recipe.Dataset, m.Recipe.Network, m.Recipe.Trains);
        return new(
            m.Name, m.Summary, m.Citation, m.Quirks, m.Before, m.From, m.Branches, m.Head,
            new(
                ListModule.OfSeq(views), step.Free, step.Adversaries, step.Passes, step.Formula, step.Loss,
                step.Measures, step.WeightStep),
            m.Averages, m.Memory, m.Sampling, recipe, m.Deploy);
    }
}
