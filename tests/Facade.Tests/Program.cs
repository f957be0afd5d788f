using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading.Tasks;
using AdvContrast;
using Expecto;
using TorchSharp;

AdvContrast.Engine.LibTorch.Load();
return Testing.main("Facade", args);

/// <summary>A run of seconds' fractions, and its checks.</summary>
internal static class Tiny
{
    internal static readonly PretrainOptions Options = new()
    {
        Images = 128,
        Network = "small",
        Width = 4,
        Epochs = 1,
        Batch = 32,
        Optimizer = "adam",
        Precision = "float32",
    };

    internal static torch.Tensor Images(int n) =>
        torch.tensor([.. Enumerable.Range(0, n * 784).Select(i => i % 97 / 97f)]).reshape(n, 1, 28, 28);

    /// <summary>What an encoder makes of a few images, exactly.</summary>
    internal static float[] Features(Encoder encoder)
    {
        using var scope = torch.NewDisposeScope();
        return encoder.Features(Images(4)).data<float>().ToArray();
    }

    internal static T Wait<T>(Task<T> task) => task.GetAwaiter().GetResult();

    /// <summary>Tensor handles that are still held once the garbage of earlier tests is gone.</summary>
    internal static long Live()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return AdvContrast.Core.Foundation.Autograd.liveTensors();
    }
}

/// <summary>A folder that ends with the test.</summary>
internal sealed class Folder : IDisposable
{
    internal string Path { get; } = Directory.CreateTempSubdirectory("advcontrast-").FullName;

    internal string At(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Keeps what is reported, in order, on the reporting thread.</summary>
internal sealed class Heard<T>(Action<T>? also = null) : List<T>, IProgress<T>
{
    public void Report(T value)
    {
        Add(value);
        also?.Invoke(value);
    }
}

/// <summary>The expectation that an action raises an exception.</summary>
internal static class Raised
{
    /// <summary>Returns the exception, which has exactly the type <typeparamref name="E"/>.</summary>
    internal static E Throws<E>(Action action, string message)
        where E : Exception
    {
        try
        {
            action();
        }
        catch (Exception raised) when (raised.GetType() == typeof(E))
        {
            return (E)raised;
        }

        throw new AssertException($"{message}. Expected {typeof(E).Name}, but nothing was raised.");
    }
}
